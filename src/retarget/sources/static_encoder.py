"""`StaticEncoder`: a vector for every word or piece, whatever is around; a text is their mean."""

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retarget.core.errors import SourceError
from retarget.core.types import IntArray
from retarget.sources.blueprint import Blueprint
from retarget.sources.random_state import own_random_state
from retarget.sources.text_encoder import FINAL, FIRST, TextEncoder, layers_of, sentence_vector
from retarget.sources.tokenizing import Pieces, TextTokenizer, Tokenizes
from retarget.sources.weights import fill

MOST_NUMBERS = 1_000_000_000  # in a table of vectors: 4 GB
UNBOUNDED = 1 << 20  # places: longer texts become windows, which changes nothing here
_WORD = re.compile(r"\w+|[^\w\s]")


class WordTokenizer:
    """Words that are known, by their place in a list.

    A word is a run of letters, digits and `_`, or any other single character that is no white
    space. It is looked up as it is written, then in lower case. Words that aren't known are left
    out. Of a text with `words`, each is looked up whole first.
    """

    def __init__(self, words: list[str]) -> None:
        self._places = {word: place for place, word in reversed(list(enumerate(words)))}
        self.size = len(words)
        self.begins = False

    @property
    def lowercases(self) -> bool:
        """Whether no known word has a capital letter."""
        return all(word == word.lower() for word in self._places)

    def to_json(self) -> str:
        """Return the list of the words."""
        words = [""] * self.size
        for word, place in self._places.items():
            words[place] = word
        return json.dumps(words, ensure_ascii=False)

    def pieces(self, raw: Any) -> Pieces:
        """Return the known words of a text, of a pair of texts or of a text with words."""
        if isinstance(raw, str):
            return _pieces([(found, 0) for found in self._known(raw)])
        if isinstance(raw, tuple):
            return _pieces([(found, 0) for text in raw for found in self._known(text)])
        found = []
        for number, (start, end) in enumerate(raw.words, start=1):
            word = raw.text[start:end]
            whole = self._place(word)
            places = self._known(word) if whole is None else [whole]
            found += [(place, number) for place in places]
        return _pieces(found)

    def _known(self, text: str) -> list[int]:
        places = (self._place(match.group()) for match in _WORD.finditer(text))
        return [place for place in places if place is not None]

    def _place(self, word: str) -> int | None:
        place = self._places.get(word)
        return self._places.get(word.lower()) if place is None else place


def _pieces(found: list[tuple[int, int]]) -> Pieces:
    table: IntArray = np.array(found, dtype=np.int64).reshape(-1, 2)
    return Pieces(table[:, 0], table[:, 0] * 0, table[:, 1], 0, 0)


class PieceTokenizer(TextTokenizer):
    """A fast tokenizer without marks around texts, and without pieces that it doesn't know."""

    def __init__(self, text: str) -> None:
        super().__init__(text, special=False)
        self._unknown = _unknown(text, self._tokenizer)

    def pieces(self, raw: Any) -> Pieces:
        """Return the known pieces."""
        found = super().pieces(raw)
        known = found.ids != getattr(self, "_unknown", None)
        return Pieces(found.ids[known], found.types[known], found.words[known], 0, 0)


def _unknown(text: str, tokenizer: Any) -> int | None:
    """Return the id of what a tokenizer makes of pieces that it doesn't know."""
    model = json.loads(text).get("model") or {}
    if isinstance(model.get("unk_token"), str):
        found = tokenizer.token_to_id(model["unk_token"])
        return None if found is None else int(found)
    return model["unk_id"] if isinstance(model.get("unk_id"), int) else None


class StaticEncoder(TextEncoder):
    """Vectors of words or pieces. Its one layer is `pooled`: the mean of those that are known,
    zeros where none is; of `words` each one's own, or the mean of its pieces."""

    def __init__(self, tokenizer: Tokenizes, rows: int, width: int, *, normalize: bool) -> None:
        super().__init__(tokenizer, UNBOUNDED, 0)
        if tokenizer.size > rows:
            raise SourceError(
                f"The tokenizer gives ids up to {tokenizer.size - 1:,}, but there are vectors for "
                f"{rows:,}. The two don't belong together."
            )
        self.model = nn.ModuleDict({"embedding": nn.Embedding(rows, width)})
        self.normalize = normalize
        self.input_shape = (8, 4)
        self.layers = layers_of({}, width)
        self.eval()

    def _states(self, batch: Tensor) -> dict[str, Tensor]:
        vectors = self.model["embedding"](batch[:, :, 0])
        return {FIRST: vectors, FINAL: vectors}

    def _sentence(self, tokens: Tensor, counts: Tensor) -> Tensor:
        return sentence_vector(tokens, counts, ("mean",), normalize=self.normalize)

    def weights(self) -> dict[str, Tensor]:
        """Return the table of vectors."""
        return dict(self.model.state_dict())

    def preprocessing(self) -> Mapping[str, Any]:
        """Return how texts are read, JSON-able."""
        return {
            "lowercase": self.tokenizer.lowercases,
            "vocabulary": self.tokenizer.size,
            "pooling": "mean",
            "normalize": self.normalize,
        }


def build_static(blueprint: Blueprint, weights: Mapping[str, Tensor] | int) -> StaticEncoder:
    """Return the encoder of a blueprint with these weights, or random ones of this seed.

    Raises `SourceError`.
    """
    told = blueprint.arguments
    rows, width, normalize = told.get("rows"), told.get("width"), told.get("normalize")
    if (
        not isinstance(rows, int)
        or not isinstance(width, int)
        or not isinstance(normalize, bool)
        or min(rows, width) < 1
        or rows * width > MOST_NUMBERS
    ):
        raise SourceError("The table of vectors has no sane numbers of rows and columns.")
    if blueprint.side:
        raise SourceError("texts have no size in pixels")
    if not isinstance(weights, int):
        shapes = [tuple(value.shape) for value in weights.values()]
        if shapes != [(rows, width)]:
            raise SourceError(f"The vectors are {shapes}, where {rows:,} × {width:,} belong.")
    tokenizer = _made(blueprint)
    with own_random_state(weights if isinstance(weights, int) else 0), torch.no_grad():
        encoder = StaticEncoder(tokenizer, rows, width, normalize=normalize)
    if not isinstance(weights, int):
        fill(encoder.model, weights, blueprint.architecture)
    return encoder


def _made(blueprint: Blueprint) -> Tokenizes:
    if "tokenizer" in blueprint.arguments:
        return PieceTokenizer(blueprint.arguments["tokenizer"])
    words = blueprint.arguments.get("words")
    if not isinstance(words, str):
        raise SourceError("The words that the vectors are of are missing.")
    return WordTokenizer(words.split("\n"))


def folded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return model2vec's tensors as one table: for each piece its vector, through its `mapping`
    and times its weight where there are such. Raises `SourceError`."""
    vectors = tensors["embeddings"].float()
    try:
        if "mapping" in tensors:
            vectors = vectors[tensors["mapping"].long()]
        if "weights" in tensors:
            vectors = vectors * tensors["weights"].float()[:, None]
    except (IndexError, RuntimeError) as error:
        raise SourceError(f"The vectors, their mapping and weights don't fit ({error}).") from error
    return {"embedding.weight": vectors.contiguous()}
