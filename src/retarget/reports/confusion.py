"""What was called what: a heat map for few classes, the most confused pairs for many."""

from dataclasses import dataclass

from retarget.evaluation.results import Confusion

DRAWN_CLASSES = 20


@dataclass(frozen=True)
class Cell:
    """Examples of one class called one class. `heat` is its share of the row, 0 to 1."""

    count: int
    heat: float
    right: bool

    @property
    def opacity(self) -> float:
        """How strongly the cell is coloured: text on it stays readable at the strongest."""
        return round(0.08 + 0.57 * self.heat, 3) if self.count else 0.0


@dataclass(frozen=True)
class Row:
    """All examples of one class, by what they were called."""

    name: str
    cells: tuple[Cell, ...]
    examples: int


@dataclass(frozen=True)
class Pair:
    """Examples of `target` that were called `predicted`, of all `examples` of `target`."""

    target: str
    predicted: str
    count: int
    examples: int


def drawn(confusion: Confusion) -> bool:
    """Return whether there are few enough classes for a heat map."""
    return len(confusion.classes) <= DRAWN_CLASSES


def heat_rows(confusion: Confusion) -> tuple[Row, ...]:
    """Return the rows of the heat map."""
    rows = []
    for i, (name, counts) in enumerate(zip(confusion.classes, confusion.counts, strict=True)):
        total = sum(counts)
        cells = tuple(Cell(n, n / total if total else 0.0, i == j) for j, n in enumerate(counts))
        rows.append(Row(name, cells, total))
    return tuple(rows)


def most_confused(confusion: Confusion, limit: int) -> tuple[Pair, ...]:
    """Return the pairs of different classes with the most examples, the most first."""
    pairs = [
        Pair(confusion.classes[i], confusion.classes[j], n, sum(counts))
        for i, counts in enumerate(confusion.counts)
        for j, n in enumerate(counts)
        if i != j and n
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.count, pair.target))[:limit])
