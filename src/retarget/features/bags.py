"""Bags of parts: how often each countable part, such as a word, is in an input. Nothing learned."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from retarget.core.progress import progress
from retarget.core.types import IntArray, StrArray
from retarget.features.views import Inputs
from retarget.tasks import modalities
from retarget.tasks.modalities import LOADERS


@dataclass(frozen=True)
class Bag:
    """Counts of the parts of n inputs.

    Attributes:
        families: by family a sparse matrix (n, parts), float32, CSR.
        names: by family (parts,) what its parts are.
    """

    families: Mapping[str, Any]
    names: Mapping[str, StrArray] = field(default_factory=dict)

    def take(self, rows: IntArray) -> "Bag":
        """Return the counts of the inputs at `rows`."""
        return Bag({name: counts[rows] for name, counts in self.families.items()}, self.names)


def bag_of(inputs: Inputs) -> Bag | None:
    """Count the parts of all inputs; `None` where the modality has no countable parts.

    Parts are numbered in the order of their names, so the same inputs give the same matrices.
    """
    split = LOADERS[inputs.modality].parts
    if split is None or not len(inputs):
        return None
    from sklearn.feature_extraction.text import CountVectorizer

    def parts() -> Iterator[Mapping[str, list[str]]]:
        with progress("Counting parts", len(inputs), f"{inputs.modality}s") as meter:
            for reference in inputs.references:
                yield split(modalities.load(inputs.modality, reference))
                meter.advance()

    found = list(parts())
    families, names = {}, {}
    for name in found[0]:
        counter = CountVectorizer(analyzer=list, dtype=np.float32)
        families[name] = counter.fit_transform([one[name] for one in found])
        names[name] = counter.get_feature_names_out()
    return Bag(families, names)


def words_of(inputs: Inputs) -> Any:
    """Return what words look like and stand beside: a sparse matrix (n words, features) of 0 and 1.

    `None` where the modality has no words. Rows are the words of all inputs, in order.
    """
    split = LOADERS[inputs.modality].parts_of_words
    if split is None or not len(inputs):
        return None
    from sklearn.feature_extraction.text import CountVectorizer

    def words() -> Iterator[list[str]]:
        with progress("Looking at words", len(inputs), f"{inputs.modality}s") as meter:
            for reference in inputs.references:
                yield from split(modalities.load(inputs.modality, reference))
                meter.advance()

    return CountVectorizer(analyzer=list, dtype=np.float32, binary=True).fit_transform(words())
