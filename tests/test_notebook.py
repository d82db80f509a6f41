"""What notebooks show of results: the numbers, and names as text."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import retarget as rt

HOSTILE = "light & <b>bold<b>"
SAFE = "light &amp; &lt;b&gt;bold&lt;b&gt;"


@pytest.mark.parametrize("what", ["task", "inspection", "evaluation", "comparison", "predictions"])
def test_results_show_themselves_and_no_name_becomes_html(
    small_run: Path, pictures: Path, what: str
) -> None:
    run = rt.load_run(small_run)
    made: Any
    if what == "task":
        made, said = rt.open_task(pictures), SAFE
    elif what == "inspection":
        made, said = rt.inspect(pictures), SAFE
    elif what == "evaluation":
        made = rt.evaluate(run, pictures / "test")
        said = f"{made.metrics['accuracy'].value:.3g} ("
    elif what == "comparison":
        made = rt.compare([run, run])
        said = f"{made.runs[0].score.value:.3g} ("
    else:
        made = run.predict([Image.new("RGB", (40, 48), (180, 180, 180))])
        said = made.labels[0].replace(HOSTILE, SAFE)
    page = made._repr_html_()
    assert said in page
    assert HOSTILE not in page
    assert page.count("<table>") == page.count("</table>") == 1
