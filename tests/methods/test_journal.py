import json

import pytest

from retarget.methods.journal import Journal
from retarget.methods.tuning import Epoch


def test_comes_back_as_it_was_told() -> None:
    journal = Journal((5, 2), 0.1, 4, 3, 8)
    for i in range(300):
        journal.took(loss=float(i), mass=2.0, seconds=float(i))
    journal.history.append(Epoch(1, 0.5, float("inf"), 0.3, 0.1, 2.0))
    assert Journal.from_told(json.loads(json.dumps(journal.told()))) == journal
    assert (journal.step, journal.mass, journal.mean_loss) == (300, 600.0, 149.5)
    assert journal.step_seconds == 199.5 and len(journal.times) == 200
    journal.begin_next()
    assert (journal.epoch, journal.step) == (2, 0) and journal.mean_loss != journal.mean_loss
    with pytest.raises(TypeError):
        Journal.from_told({**journal.told(), "other": 1})
