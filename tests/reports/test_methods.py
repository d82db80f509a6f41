from xml.etree import ElementTree

import pytest

from retarget.evaluation.results import Estimate
from retarget.reports import methods
from retarget.runs.schema import RunRecord


@pytest.fixture(scope="module")
def tuned(records: dict[str, RunRecord]) -> RunRecord:
    return records["tuned"]


def _chosen(record: RunRecord) -> list[str]:
    return [row.name for row in methods.rows(record) if row.chosen]


def test_mixes_follow_what_they_are_mixed_from(tuned: RunRecord) -> None:
    shuffled = tuned.model_copy(update={"methods": (*tuned.methods[::2], *tuned.methods[1::2])})
    names = [row.name for row in methods.rows(shuffled)]
    at = names.index("finetune")
    assert names[at : at + 5] == ["finetune", "finetune at 100%", "finetune at 75%",
                                  "finetune at 50%", "finetune at 25%"]  # fmt: skip
    assert sorted(names) == sorted(row.name for row in methods.rows(tuned))


def test_rows_know_the_training_behind_them(tuned: RunRecord) -> None:
    for row in methods.rows(tuned):
        behind = [t.training for t in tuned.trials if t.training and t.method == row.record.name]
        assert [row.training] == (behind or [None])


def test_trained_parameters_have_their_share(tuned: RunRecord) -> None:
    trained = {row.name: row.trained for row in methods.rows(tuned)}
    assert trained["frozen features"] == "–"
    assert trained["finetune"] == "3.4M (100%)"
    assert trained["lora"] == "148k (4%)"
    assert trained["mean of all"] == "6.9M"


def test_what_was_handed_over_is_marked(tuned: RunRecord) -> None:
    assert _chosen(tuned) == ["mean of all"]
    for name in ("finetune", "lora"):
        one = next(m for m in tuned.chosen.members if m.method == name)
        alone = tuned.chosen.model_copy(update={"members": (one,)})
        assert _chosen(tuned.model_copy(update={"chosen": alone})) == [name]
    frozen = tuple(m for m in tuned.chosen.members if m.training is None)
    alone = tuned.chosen.model_copy(update={"members": frozen})
    assert _chosen(tuned.model_copy(update={"chosen": alone})) == ["frozen features"]


def test_frozen_run_has_no_rows(record: RunRecord) -> None:
    assert methods.rows(record) == ()
    assert methods.methods_plot((), "accuracy") == ""


def test_dots_lie_as_the_scores_do(tuned: RunRecord) -> None:
    rows = methods.rows(tuned)
    root = ElementTree.fromstring(methods.methods_plot(rows, "accuracy"))
    places = [float(e.attrib["cx"]) for e in root.iter("circle")]
    scores = [row.record.score.value for row in rows]
    assert sorted(range(len(rows)), key=places.__getitem__) == sorted(
        range(len(rows)), key=scores.__getitem__
    )
    assert root.attrib["role"] == "img"
    assert "9 methods" in (root[0].text or "")


def test_long_names_and_scores_share_the_width(tuned: RunRecord) -> None:
    long = Estimate(-123456.7, -123999.1, -122222.2)
    one = tuned.methods[0].model_copy(update={"name": "a<b>" * 40, "score": long})
    changed = tuned.model_copy(update={"methods": (one,)})
    root = ElementTree.fromstring(methods.methods_plot(methods.rows(changed), "rmse"))
    said = [e[-1].tail if len(e) else e.text for e in root.iter("text")]
    assert any((words or "").startswith("a<b>") and (words or "").endswith("…") for words in said)
