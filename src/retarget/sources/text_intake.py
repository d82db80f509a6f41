"""What graphs of encoders of texts take in: what tokenizers give, a table for each tokenizer."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from retarget.core.errors import SourceError
from retarget.core.text import count
from retarget.core.types import Pooling
from retarget.sources.encoder import Encoder
from retarget.sources.intake import Entry, Intake
from retarget.sources.static_encoder import StaticEncoder
from retarget.sources.text_encoder import TextEncoder
from retarget.sources.text_example import example

COLUMNS = ("input_ids", "attention_mask", "token_type_ids", "words")
# A text of more than one window is tried where a window is no longer than this.
LONGEST_TRIED = 1024
TRIED = (
    "A quiet film with one good joke, told twice.",
    "no",
    "The lake near Zürich was frozen in January 1987, wrote Anna O'Neill.",
    "Don't buy it! The hinge broke after 3 days, and nobody at Acme Corp. answered :-(",
    "東京の夏は暑い。 Über naïve cafés ☕ and 👩‍🚀 in space",
)
PAIR = ("The shop opens at nine.", "It is closed before 9 a.m.")
_MEANINGS = (
    "pieces of the text by their number in the tokenizer",
    "1: read and counted; 2: read, but counted in another window; 0: padding",
    "0; for the second of a pair what the tokenizer says",
    "the word that a piece belongs to, counted from 1; 0: none",
)
_WINDOWS = (
    "A text of more pieces than `length` is read in windows of `length` pieces, laid one after the "
    "other in one row. All have the special pieces around the text; neighbours overlap by a "
    "quarter, the last two by more. A piece counts (mask 1) in the window whose middle is nearest, "
    "in others it is only read (mask 2)."
)


class TextIntake(Intake):
    """Texts as `input_ids`, `attention_mask` and `token_type_ids` (b, T) int64, where words are
    asked about `words` too. Encoders with equal tokenizers, prompts and lengths share them.

    A graph is compared with the model on short texts, on one longer than a window, on a pair.
    """

    raw: ClassVar[str] = "TEXT"

    def __init__(self, encoders: Sequence[Encoder], pooling: Pooling) -> None:
        """Raise `SourceError` for encoders that read no texts, or divide words differently."""
        texts = [encoder for encoder in encoders if isinstance(encoder, TextEncoder)]
        if len(texts) < len(encoders):
            raise SourceError("An encoder of this model reads no texts, where others do.")
        super().__init__(encoders, [_told(encoder) for encoder in texts])
        self.readers = cast(tuple[TextEncoder, ...], self.owners)
        if pooling == "words" and len(self.readers) > 1:
            raise SourceError(
                "The encoders of this model divide texts into different pieces, so no one graph "
                "says what it says of words. Fit with one --source."
            )
        self.entries = tuple(_entries(i, pooling) for i in range(len(self.readers)))
        self.tried = tried([encoder.length for encoder in texts], pooling)
        self.compared = _compared(texts, self.tried)
        names = [f"tokenizer{_end(i)}.json" for i in range(len(self.readers))]
        told = [encoder.tokenizer.to_json() for encoder in self.readers]
        self.files = dict(zip(names, told, strict=True))
        self.card = {
            "pooling": pooling,
            "texts": list(map(_card, names, self.readers, self.entries)),
            "windows": _WINDOWS,
        }

    def apart(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Return what encoders read (b, T, 5) as columns (b, T)."""
        ids, attended, types, counted, word = batch.unbind(dim=2)
        columns = (ids, attended * (2 - counted), types, word)
        return columns[: len(self.entries[0])]

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Return columns as encoders read them: the other way round."""
        ids, mask, types, *words = parts
        word = words[0] if words else torch.zeros_like(ids)
        return torch.stack([ids, (mask > 0).long(), types, (mask == 1).long(), word], dim=2)

    def example(self, answer: str = "") -> str:
        """Return a program that runs with onnxruntime and tokenizers."""
        static = any(isinstance(encoder, StaticEncoder) for encoder in self.readers)
        return example(answer, static=static)


def tried(lengths: Sequence[int], pooling: Pooling) -> list[Any]:
    """Return texts to try models with whose windows have `lengths` places at most, among them one
    of several windows for all that are short enough."""
    short = [length for length in lengths if length <= LONGEST_TRIED]
    long = [" ".join(TRIED * (2 + max(short) // 40))] if short else []
    return [*TRIED, *long, *([] if pooling == "words" else [PAIR])]


def _told(encoder: TextEncoder) -> Any:
    """Return all that decides how a text is read."""
    prompt = encoder.preprocessing().get("prompt")
    tokenizer = encoder.tokenizer
    return type(tokenizer), tokenizer.to_json(), encoder.length, encoder.pad, prompt


def _end(number: int) -> str:
    return f"_{number}" if number else ""


def _entries(number: int, pooling: Pooling) -> tuple[Entry, ...]:
    names = COLUMNS if pooling == "words" else COLUMNS[:3]
    shape, end = ("batch", f"length{_end(number)}"), _end(number)
    return tuple(
        Entry(name + end, shape, "int64", {"meaning": told})
        for name, told in zip(names, _MEANINGS, strict=False)
    )


def _card(name: str, encoder: TextEncoder, entries: Sequence[Entry]) -> dict[str, Any]:
    return {
        "tokenizer": name,
        "reader": type(encoder.tokenizer).__name__,
        "length": encoder.length,
        "pad": encoder.pad,
        "inputs": [entry.name for entry in entries],
        "preprocessing": dict(encoder.preprocessing()),
    }


def _compared(encoders: Sequence[TextEncoder], texts: Sequence[Any]) -> str:
    windows = [max(e.windows(e.prepare(text)) for e in encoders) for text in texts]
    pairs = sum(isinstance(text, tuple) for text in texts)
    told = [count(len(texts) - pairs - sum(w > 1 for w in windows), "short text")]
    told += [f"a text of {w} windows" for w in windows if w > 1]
    return ", ".join([*told, *(["a pair"] if pairs else [])])
