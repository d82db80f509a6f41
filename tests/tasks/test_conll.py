"""CoNLL files, whole and broken."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retarget.core.errors import DataError
from retarget.tasks.conll_lines import looks_tagged
from retarget.tasks.open import open_task
from retarget.tasks.task import Task
from retarget.tasks.unfold import unfold

CONLL_2003 = """-DOCSTART- -X- -X- O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
British JJ I-NP B-MISC

-DOCSTART- -X- O O

Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER
"""
CONLL_U = """# newdoc id = novel
# sent_id = 1
# text = Vámonos al mar.
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\tV\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tP\t_\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\tE\t_\t5\tcase\t_\t_
4\tel\tel\tDET\tD\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\tN\t_\t1\tobl\t_\tSpaceAfter=No
5.1\tghost\t_\tVERB\t_\t_\t_\t_\t_\t_
6\t.\t.\tPUNCT\tF\t_\t1\tpunct\t_\t_

1\tOh\toh\tINTJ\tI\t_\t0\troot\t_\tSpaceAfter=No
2\t!\t!\tPUNCT\tF\t_\t1\tpunct\t_\t_
"""


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def found(task: Task) -> list[list[tuple[str, str]]]:
    """The spans of each sentence, as the text that they hold and their label."""
    texts = [reference.text for reference in task.examples.inputs["text"]]
    return [
        [(text[span.start : span.end], span.label) for span in spans]
        for text, spans in zip(texts, task.examples.targets, strict=True)
    ]


def words(task: Task) -> list[list[str]]:
    return [[t.text[a:b] for a, b in t.words] for t in task.examples.inputs["text"]]


def test_conll_2003_is_read_with_its_documents_as_groups(tmp_path: Path) -> None:
    task = open_task(write(tmp_path / "eng.conll", CONLL_2003))
    assert task.kind == "tagging"
    assert task.classes == ("MISC", "ORG", "PER")
    assert found(task) == [
        [("EU", "ORG"), ("German", "MISC"), ("British", "MISC")],
        [("Peter Blackburn", "PER")],
    ]
    assert task.examples.groups.tolist() == ["document 1", "document 2"]
    assert task.examples.names == ("line 3", "line 10")
    assert "IOB1" in task.layout
    assert not task.problems
    phrases = open_task(tmp_path / "eng.conll", columns={"label": "3"})
    assert phrases.classes == ("NP", "VP")
    with pytest.raises(DataError, match=r"no column '9'.*from 1 to 4"):
        open_task(tmp_path / "eng.conll", columns={"label": "9"})
    with pytest.raises(DataError, match="no column for 'group'"):
        open_task(tmp_path / "eng.conll", columns={"group": "2"})
    with pytest.raises(DataError, match="task of tagging, not of regression"):
        open_task(tmp_path / "eng.conll", kind="regression")


def test_conll_u_gives_a_label_a_word_at_its_place_in_the_text(tmp_path: Path) -> None:
    task = open_task(write(tmp_path / "es.conllu", CONLL_U))
    assert words(task) == [["Vámonos", "al", "mar", "."], ["Oh", "!"]]
    assert [t.text for t in task.examples.inputs["text"]] == ["Vámonos al mar.", "Oh!"]
    labels = [[label for _, label in spans] for spans in found(task)]
    assert labels == [["VERB", "ADP", "NOUN", "PUNCT"], ["INTJ", "PUNCT"]]
    assert task.examples.groups.tolist() == ["", ""], "all are of one document"
    more = (
        CONLL_U.rstrip("\n")
        + "\n\n# newdoc id = letter\n1\tHola\thola\tINTJ\tI\t_\t0\troot\t_\t_\n"
    )
    several = open_task(write(tmp_path / "two.conllu", more))
    assert several.examples.groups.tolist() == ["novel", "novel", "letter"]
    by_relation = open_task(tmp_path / "es.conllu", columns={"label": "deprel", "text": "lemma"})
    assert by_relation.classes == ("case", "obl", "punct", "root")
    table = open_task(write(tmp_path / "es.tsv", CONLL_U))
    assert found(table) == found(task)


MISC = """# text = Da Vinci vio al perro.
1\tDa\tda\tPROPN\t_\tCase=Nom|Number=Sing\t0\troot\t_\tNER=B-PER|Gloss=x=y
2\tVinci\tvinci\tPROPN\t_\tNumber=Sing\t1\tflat\t_\tGloss=z|NER=I-PER|NER=B-LOC
3\tvio\tver\tVERB\t_\t_\t1\tdep\t_\tNERD=B-LOC|ner=B-LOC
4-5\tal\t_\t_\t_\t_\t_\t_\t_\tNER=B-LOC
4\ta\ta\tADP\t_\t_\t6\tcase\t_\tNER=B-PER
5\tel\tel\tDET\t_\t_\t6\tdet\t_\t_
6\tperro\tperro\tNOUN\t_\tNumber=Plur\t3\tobl\t_\tSpaceAfter=No
7\t.\t.\tPUNCT\t_\t_\t1\tpunct\t_\t_
"""


def test_labels_in_pairs_of_a_column_are_asked_for_by_their_key(tmp_path: Path) -> None:
    path = write(tmp_path / "es.conllu", MISC)
    task = open_task(path, columns={"label": "misc.NER"})
    assert found(task) == [[("Da Vinci", "PER"), ("al", "LOC")]]
    assert "IOB2" in task.layout and not task.problems
    numbers = open_task(path, columns={"label": "FEATS.Number"})
    assert found(numbers) == [[("Da", "Sing"), ("Vinci", "Sing"), ("perro", "Plur")]]
    first = write(tmp_path / "no.conllu", MISC.replace("\tNER=B-LOC\n", "\t_\n"))
    assert found(open_task(first, columns={"label": "misc.NER"})) == [
        [("Da Vinci", "PER"), ("al", "PER")]
    ]
    with pytest.raises(DataError, match=r"pair Entity=….*column misc.*keys there are NER, Gloss"):
        open_task(path, columns={"label": "misc.Entity"})
    with pytest.raises(DataError, match=r"no column 'form\.NER'.*misc\.NER"):
        open_task(path, columns={"label": "form.NER"})
    with pytest.raises(DataError, match=r"no column 'misc\.NER'"):
        open_task(write(tmp_path / "x.conll", CONLL_2003), columns={"label": "misc.NER"})


def test_a_split_without_the_key_is_one_without_labels(tmp_path: Path) -> None:
    write(tmp_path / "train.conllu", MISC)
    write(tmp_path / "test.conllu", MISC.replace("NER=", "X="))
    task = open_task(tmp_path, columns={"label": "misc.NER"})
    told = dict(zip(task.examples.splits.tolist(), task.labelled.tolist(), strict=True))
    assert told == {"train": True, "test": False}


def test_a_folder_of_splits_and_one_of_domains(tmp_path: Path) -> None:
    for name in ("eng.train", "eng.testa", "eng.testb"):
        write(tmp_path / name, f"{name} X B-A\nand X O\n")
    task = open_task(tmp_path)
    assert dict(zip([w[0] for w in words(task)], task.examples.splits, strict=True)) == {
        "eng.train": "train",
        "eng.testa": "val",
        "eng.testb": "test",
    }
    write(tmp_path / "notes.tsv", "x\tX\tO\ny\tX\tO\n")
    assert [p.kind for p in open_task(tmp_path).problems] == ["ignored"]
    (tmp_path / "more").mkdir()
    for name in ("news", "blogs"):
        write(tmp_path / "more" / f"{name}.iob", f"{name}\tB-A\n")
    task = open_task(tmp_path / "more")
    assert task.examples.domains.tolist() == ["blogs", "news"]
    assert task.examples.names == ("blogs.iob line 1", "news.iob line 1")


def test_what_is_wrong_is_counted_and_named_with_its_lines(tmp_path: Path) -> None:
    lines = [
        *("a\tB-X", "b\tI-Y", ""),  # 2: I of no open span
        *("c\tO", "d\tO\tO", ""),  # 5: three columns
        *("e\0\tO", ""),  # 7: NUL
        *("\tO", "f\tO", ""),  # 9: no word
        *("g\tB-X", "h\tperson", "\t", "i\tO"),  # 13: no tag; 14 is blank
        *("caf\xe9\tO",),  # 16: Latin
        *(["", "j\tB-X", "k\tI-X"] * 4),
    ]
    path = write(tmp_path / "x.bio", "\n".join(lines).encode("latin-1"))
    task = open_task(path)
    assert words(task) == [["a", "b"], ["g", "h"], ["i", "café"], *[["j", "k"]] * 4]
    assert found(task) == [[("a", "X"), ("b", "Y")], [("g", "X")], [], *[[("j k", "X")]] * 4]
    told = {(p.kind, p.where, p.left_out) for p in task.problems}
    assert told == {
        ("encoding", ("line 16",), False),
        ("bad-row", ("line 5",), True),
        ("bad-row", ("line 7",), True),
        ("bad-row", ("line 9",), True),
        ("bad-target", ("line 2",), False),
        ("bad-target", ("line 13",), False),
    }
    assert any("I-Y, line 2" in p.what for p in task.problems)


def test_mixed_schemes_are_told_and_read_by_one_rule(tmp_path: Path) -> None:
    path = write(tmp_path / "x.ner", "a\tB-X\nb\tE-X\nc\tS-X\n\nd\tI-X\ne\tI-X\nf\tO\n")
    task = open_task(path)
    assert found(task) == [[("a b", "X"), ("c", "X")], [("d e", "X")]]
    assert [(p.kind, p.where) for p in task.problems] == [("bad-target", ("line 5", "line 6"))]


def test_words_without_tags_are_unlabelled(tmp_path: Path) -> None:
    task = open_task(write(tmp_path / "x.conll", "Just\nwords\n\nhere\n"))
    assert words(task) == [["Just", "words"], ["here"]]
    assert task.kind == "tagging"
    assert not task.labelled.any()
    assert task.layout.endswith("without tags.")


@pytest.mark.parametrize(
    ("head", "tagged"),
    [
        ("a\tO\nb\tB-X\n", True),
        ("a O\nb O\nc O", True),
        ("-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nx NN O O\n", True),
        (CONLL_U, True),
        ("text\tlabel\ngood\tO\nbad\tO\n", False),
        ("Once upon a time\nthere was O\n", False),
        ("x\ty\nz\tw\n", False),
        ("one text", False),
        ("", False),
    ],
)
def test_only_tags_in_columns_are_taken_for_them(head: str, tagged: bool, tmp_path: Path) -> None:
    assert looks_tagged(head) == tagged
    if tagged:
        assert open_task(write(tmp_path / "x.txt", head)).kind == "tagging"


def test_wnut_is_read_whole(shared_data: Path) -> None:
    task = open_task(shared_data / "wnut17")
    splits, counts = np.unique(task.examples.splits, return_counts=True)
    assert dict(zip(splits.tolist(), counts.tolist(), strict=True)) == {
        "test": 1287,
        "train": 3394,
        "val": 1009,
    }
    lines = [
        line.split("\t")
        for name in ("dev", "test", "train")
        for line in (shared_data / "wnut17" / f"{name}.conll").read_text("utf-8").split("\n")
        if line.strip()
    ]
    unfolded = unfold(task).task
    assert [unfolded.classes[tag] for tag in unfolded.examples.targets] == [t for _, t in lines]
    assert [word for sentence in words(task) for word in sentence] == [w for w, _ in lines]
    assert not task.problems


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_mutated_files_end_in_a_task_or_in_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from([".conll", ".conllu", ".txt", ".tsv"]))
    content = bytearray(data.draw(st.sampled_from([CONLL_2003, CONLL_U])).encode())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content)))
        piece = data.draw(
            st.sampled_from(
                [b"\0", b"\t", b"\n", b"\xff", b"\xfe\xff", b" ", b"I-", b"1-9\t", b"", b"\r"]
            )
        )
        content[place : place + data.draw(st.integers(0, 12))] = piece
    path = write(tmp_path / f"x{suffix}", bytes(content))
    try:
        task = open_task(path)
    except DataError as error:
        assert str(error).endswith(".")
        return
    assert all(problem.where and problem.what.endswith(".") for problem in task.problems)
    if task.kind == "tagging":
        unfold(task)
