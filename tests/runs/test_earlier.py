"""In which fold an example judged an earlier run."""

from pathlib import Path

import retarget as rt
from retarget.runs.earlier import folds_before
from retarget.runs.predictions import read_predictions
from retarget.tasks.unfold import unfold
from retarget.tasks.words import Span


def test_sentences_are_known_by_their_words(quick: dict[str, object], tmp_path: Path) -> None:
    ends = ("by train", "last May", "to sing", "again", "for Tom", "at ten", "in rain", "with us")
    texts = [f"Anna came to Oslo {end}." for end in ends]
    spans = [[Span(0, 4, "person"), Span(13, 17, "place")] for _ in texts]
    task = rt.open_task(texts, spans)
    run = rt.fit(task, out=str(tmp_path / "run"), **quick)  # type: ignore[arg-type]
    grown = rt.open_task([*texts[::-1], "Tom came to Graz."], [*spans, [Span(0, 3, "person")]])
    found = folds_before(run.folder, run.record, grown)
    words = unfold(task)
    table = read_predictions(run.folder / "predictions.parquet")
    assert table.ids.tolist() == words.task.examples.ids.tolist()
    of_sentence = [set(table.folds[words.sentences == row].tolist()) for row in range(8)]
    assert [{fold} for fold in found[:8][::-1].tolist()] == of_sentence
    assert found[8] == -1
    assert set(found[:8].tolist()) == {0, 1}
