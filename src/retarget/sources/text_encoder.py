"""`TextEncoder`: encoders of texts, whatever their length, pooled over what counts."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from retarget.core.errors import SourceError
from retarget.core.types import Pooling
from retarget.sources import text_pooling
from retarget.sources.apart import taken_apart
from retarget.sources.encoder import Encoder, Layer, Split
from retarget.sources.taps import LAST
from retarget.sources.tokenizing import Tokenizes
from retarget.sources.windows import COUNTS, FILLER, ID, TYPE, WORD, filled, laid_out, padded_length

if TYPE_CHECKING:
    from retarget.sources.intake import Intake

FINAL, FIRST = "final", "first"  # states that are no layer of their own
# Tokens in a batch: 512, which more don't make quicker on a CPU, or 8,192 where 64 examples are
# usual, and 2,048 where 32 are.
FEWEST_TOKENS, TOKENS = 512, 2
MOST = 256  # examples in a batch

_POOLS: dict[Pooling, text_pooling.Pool] = {
    "mean": text_pooling.mean,
    "first+last": text_pooling.mean,
    "cls": text_pooling.first,
    "max": text_pooling.largest,
    "last": text_pooling.last,
    "mean+max": text_pooling.mean_and_largest,
}


class TextEncoder(Encoder):
    """An encoder of texts.

    `prepare` takes a text, a pair of texts, or a text with `words`, and returns int64 (T, 4): id,
    type, whether it counts, and its word from 1 (0: none; −1: the row only fills up). A batch is
    (b, T, 5) int64: id, attended to, type, counts, word. A text longer than `length` lies there as
    several windows of that length; all that is pooled is pooled over the whole text.

    Attributes:
        tokenizer: text → pieces.
        length: places of the model; longer texts become windows.
        pad: id of what fills up.
    """

    def __init__(self, tokenizer: Tokenizes, length: int, pad: int) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.length = length
        self.pad = pad
        self.detail = 0
        self.input_shape = (length, 4)

    @abstractmethod
    def _states(self, batch: Tensor) -> dict[str, Tensor]:
        """Return, for windows (b, t, 5), the tokens (b, t, d) of every layer but `pooled`, and of
        `FIRST` and `FINAL`: the shallowest block and what the model gives."""

    @abstractmethod
    def _sentence(self, tokens: Tensor, counts: Tensor) -> Tensor:
        """Return the vector (b, d) of a text from the final tokens."""

    def prepare(self, raw: Any) -> Tensor:
        """Return a text as (T, 4) int64. Safe to call from several threads."""
        table = laid_out(self.tokenizer.pieces(raw), self.length)
        if not len(table):
            table = np.array([[self.pad, 0, 0, 0]], dtype=np.int64)
        return torch.from_numpy(filled(table, self.length, self.pad))

    def windows(self, prepared: Tensor) -> int:
        """Return how many windows a prepared text was divided into."""
        return max(1, -(-len(prepared) // self.length))

    def collate(self, prepared: Sequence[Tensor]) -> Tensor:
        """Return prepared texts as (b, T, 5), padded at the end."""
        length = padded_length(max(map(len, prepared)), self.length)
        table = np.empty((len(prepared), length, 4), dtype=np.int64)
        table[:] = (self.pad, 0, 0, FILLER)
        for row, own in zip(table, prepared, strict=True):
            row[: len(own)] = own.numpy()
        word = table[:, :, WORD]
        columns = (table[:, :, ID], word != FILLER, table[:, :, TYPE], table[:, :, COUNTS])
        return torch.from_numpy(np.stack([*columns, np.maximum(word, 0)], axis=2))

    def bucket(self, prepared: Tensor) -> int:
        """Return the length that a prepared text is padded to."""
        return padded_length(len(prepared), self.length)

    def batch_size(self, bucket: int, usual: int) -> int:
        """Return how many texts of a length make a batch: as many as fit its budget of tokens."""
        return max(1, min(MOST, max(FEWEST_TOKENS, TOKENS * usual**2) // max(bucket, 1)))

    def example_batch(self, count: int) -> Tensor:
        """Return texts of random pieces, each a word of its own, the same every time."""
        generator = torch.Generator().manual_seed(count)
        places = min(8, self.length)
        batch = torch.ones(count, places, 5, dtype=torch.int64)
        ids = torch.randint(self.tokenizer.size, (count, places), generator=generator)
        batch[:, :, 0] = torch.where(ids == self.pad, (ids + 1) % self.tokenizer.size, ids)
        batch[:, :, 2] = 0
        batch[:, :, 4] = torch.arange(1, places + 1)
        model = next(self.parameters(), None)
        return batch if model is None else batch.to(model.device)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        """Return, for every layer, its tokens (b, T, d); for `pooled` t = 1."""
        states, counts = self._joined(batch)
        pooled = self._sentence(states[FINAL].float(), counts)[:, None]
        return {k.name: pooled if k.name == LAST else states[k.name] for k in self.layers}

    def pooled(self, batch: Tensor, pooling: Pooling) -> dict[str, Tensor]:
        """Return every layer pooled: (b, width) float32, or (b, T, d) for `tokens` and `words`.

        Only tokens that count are pooled, over all windows of a text:

        - `mean`, `max`, `mean+max`; `last` is the last of them, `cls` the very first token, or
          the mean where texts begin with none of the model's own.
        - `first+last` is the mean for all layers but `pooled`, which is the mean of the means of
          the first block's and the final tokens.
        - `tokens` keeps all places, zeros where they don't count; `words` has at place j the mean
          of the pieces of word j + 1, zeros for words without pieces and behind the last.

        `pooled` is the vector that the model's makers read, under every other pooling than
        `first+last` and `words`; of words it is the final tokens' mean.
        """
        return self._pooled(batch, pooling, [k.name for k in self.layers])

    def pooled_of(self, batch: Tensor, pooling: Pooling, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the layers of those names, as `pooled` does, without pooling the others.

        Texts of different length go through the model apart where that is less work.
        """
        if pooling == "tokens":
            return self._pooled(batch, pooling, names)
        # A word's place is its number, whatever pieces it has.
        read = batch[:, :, 1].cumsum(dim=1).argmax(dim=1) + 1
        used = torch.maximum(read, batch[:, :, 4].amax(dim=1)).tolist()
        lengths = [min(padded_length(n, self.length), batch.shape[1]) for n in used]
        return taken_apart(batch, lengths, lambda part: self._pooled(part, pooling, names))

    def _pooled(self, batch: Tensor, pooling: Pooling, names: Sequence[str]) -> dict[str, Tensor]:
        states, counts = self._joined(batch)
        return {name: self._pool(name, states, counts, batch, pooling) for name in names}

    def head_layer(self, pooling: Pooling) -> str:
        """Return `pooled` where its makers' way of reading is as good as any or is changed by the
        pooling, else the last hidden state, where there are hidden states."""
        follows = pooling in ("mean", "first+last", "tokens", "words")
        return self.layers[-1 if follows or len(self.layers) == 1 else -2].name

    def width_of(self, name: str, pooling: Pooling) -> int:
        """Return how many numbers `pooled` gives of a layer, or of each of its places."""
        # Vectors of texts may be wider than tokens, of which these two are made.
        tokens = name == LAST and pooling in ("first+last", "words") and len(self.layers) > 1
        return super().width_of(self.layers[-2].name if tokens else name, pooling)

    def _pool(
        self,
        name: str,
        states: Mapping[str, Tensor],
        counts: Tensor,
        batch: Tensor,
        pooling: Pooling,
    ) -> Tensor:
        tokens = states[FINAL if name == LAST else name].float()
        if pooling == "words":
            return text_pooling.of_words(tokens, batch[:, :, 4])
        if name == LAST and pooling == "first+last":
            early = text_pooling.mean(states[FIRST].float(), counts)
            return (early + text_pooling.mean(tokens, counts)) / 2
        if name == LAST:
            vector = self._sentence(tokens, counts)
            if pooling == "tokens":
                return vector[:, None]
            return torch.cat([vector, vector], dim=1) if pooling == "mean+max" else vector
        if pooling == "tokens":
            return tokens * counts[:, :, None]
        if pooling == "cls" and not self.tokenizer.begins:
            return text_pooling.mean(tokens, counts)
        return _POOLS[pooling](tokens, counts)

    def _joined(self, batch: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the tokens of whole texts (b, T, d), and whether each counts (b, T) float32."""
        windows = batch.reshape(-1, _width(batch, self.length), batch.shape[2])
        states = self._states(windows)
        examples, places = batch.shape[:2]
        joined = {k: v.reshape(examples, places, v.shape[2]) for k, v in states.items()}
        return joined, batch[:, :, 3].float()

    def split_at(self, layer: str) -> Split:
        """Raise `SourceError`: texts have no activations of one shape."""
        raise SourceError("Texts differ in length, so nothing of them is cached in between.")

    def intake(self, encoders: Sequence[Encoder], pooling: Pooling) -> "Intake":
        """Return what a graph of `encoders` takes in: pieces of texts by their numbers."""
        from retarget.sources.text_intake import TextIntake

        return TextIntake(encoders, pooling)


def _width(batch: Tensor, length: int) -> Any:
    """Return the places of a window, as a number that an exported graph computes anew."""
    if torch.onnx.is_in_onnx_export():
        places = torch._shape_as_tensor(batch)[1]
        return torch.minimum(places, torch.tensor(length))
    return min(batch.shape[1], length)


def sentence_vector(
    tokens: Tensor,
    counts: Tensor,
    pooling: Sequence[str],
    *,
    normalize: bool,
    dense: nn.Module | None = None,
) -> Tensor:
    """Return the vectors of texts as sentence-transformers' modules Pooling, Dense (where there
    is one) and Normalize do."""
    vectors = [text_pooling.NAMED[name](tokens, counts) for name in pooling]
    vector = vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=1)
    if dense is not None:
        vector = dense(vector)
    return functional.normalize(vector, dim=1) if normalize else vector


def layers_of(widths: Mapping[str, int], pooled: int) -> tuple[Layer, ...]:
    """Return layers of those widths, and `pooled`."""
    return (*(Layer(name, width) for name, width in widths.items()), Layer(LAST, pooled))
