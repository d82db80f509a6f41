import numpy as np

from retarget.evaluation.results import Confusion
from retarget.reports import confusion

SMALL = Confusion(("a", "b", "c"), ((8, 2, 0), (1, 4, 5), (0, 0, 0)))


def test_heat_is_the_share_of_the_row() -> None:
    rows = confusion.heat_rows(SMALL)
    heat = np.array([[cell.heat for cell in row.cells] for row in rows])
    np.testing.assert_allclose(heat, [[0.8, 0.2, 0], [0.1, 0.4, 0.5], [0, 0, 0]])
    assert [row.examples for row in rows] == [10, 10, 0]
    assert [[cell.right for cell in row.cells] for row in rows] == np.eye(3, dtype=bool).tolist()


def test_only_cells_with_examples_are_coloured_and_none_too_strongly_for_text() -> None:
    for row in confusion.heat_rows(SMALL):
        for cell in row.cells:
            assert (cell.opacity > 0) == (cell.count > 0)
            assert cell.opacity <= 0.65


def test_most_confused_pairs_come_first_and_right_ones_never() -> None:
    pairs = confusion.most_confused(SMALL, 2)
    assert [(p.target, p.predicted, p.count, p.examples) for p in pairs] == [
        ("b", "c", 5, 10),
        ("a", "b", 2, 10),
    ]
    assert len(confusion.most_confused(SMALL, 99)) == 3


def test_up_to_twenty_classes_are_drawn() -> None:
    for classes in (20, 21):
        names = tuple(map(str, range(classes)))
        square = Confusion(names, ((0,) * classes,) * classes)
        assert confusion.drawn(square) == (classes == 20)
