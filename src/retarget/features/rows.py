"""Which rows of a store an example becomes: one, or one for each of its words."""

from dataclasses import dataclass

import numpy as np

from retarget.core.types import IntArray, Pooling, StrArray
from retarget.tasks.task import Task
from retarget.tasks.unfold import unfold


@dataclass(frozen=True)
class RowIds:
    """Ids of the rows of n examples.

    Attributes:
        ids: (N,) those of one example side by side.
        starts: (n + 1,) example i has the rows from `starts[i]` up to `starts[i + 1]`.
    """

    ids: StrArray
    starts: IntArray

    @classmethod
    def of_task(cls, task: Task, pooling: Pooling) -> "RowIds":
        """Return the ids under which the features of a task are stored."""
        if pooling != "words":
            return cls(task.examples.ids, np.arange(len(task) + 1, dtype=np.int64))
        unfolded = unfold(task)
        starts = np.searchsorted(unfolded.sentences, np.arange(len(task) + 1))
        return cls(unfolded.task.examples.ids, starts.astype(np.int64))

    def of(self, example: int) -> StrArray:
        """Return the ids of the rows of an example."""
        return self.ids[self.starts[example] : self.starts[example + 1]]

    def examples(self, rows: IntArray) -> IntArray:
        """Return which examples have any of the rows, ascending, each once."""
        return np.unique(np.searchsorted(self.starts, rows, side="right") - 1)

    def rows(self, examples: IntArray) -> IntArray:
        """Return the rows of some examples, in their order."""
        if len(self.ids) == len(self.starts) - 1:
            return examples
        parts = [np.arange(self.starts[i], self.starts[i + 1]) for i in examples.tolist()]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])
