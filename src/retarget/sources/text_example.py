"""The `example.py` beside an exported text model: strings in, predictions out, with no Retarget."""

from retarget.core.copied import definitions
from retarget.sources import static_encoder, tokenizing, windows

_LEFT_OUT = {
    tokenizing: {"Tokenizes"},
    windows: set(),
    static_encoder: {
        "MOST_NUMBERS", "UNBOUNDED", "StaticEncoder", "build_static", "_made", "folded",
    },
}  # fmt: skip


def example(answer: str, *, static: bool) -> str:
    """Return the script that ends in `answer`, by default in probabilities or a value of a text;
    `static` for vectors of words or pieces."""
    modules = [tokenizing, windows]
    modules += [static_encoder] if static else []
    copied = [part for module in modules for part in definitions(module, _LEFT_OUT[module])]
    parts = [_HEAD.rstrip(), *copied, _FEEDING.strip(), (answer or _ANSWER).strip()]
    return "\n\n\n".join(parts) + "\n"


_HEAD = '''"""Predict texts with model.onnx.

    python example.py TEXT ...               one line of JSON for each text
    python example.py --pair TEXT OTHER ...  for each pair of texts
    python example.py < FILE                 for each line

Needs: pip install onnxruntime tokenizers numpy
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent
CARD = json.loads((HERE / "model.json").read_text(encoding="utf-8"))
printable = str


class SourceError(Exception):
    """A tokenizer that can't be used."""


# From here to `fed`: how texts are read, as in training.
'''

_FEEDING = '''
def _tokenizer_of(one):
    text = (HERE / one["tokenizer"]).read_text(encoding="utf-8")
    if one["reader"] == "WordTokenizer":
        return WordTokenizer(json.loads(text))
    if one["reader"] == "PieceTokenizer":
        return PieceTokenizer(text)
    return TextTokenizer(text, prompt=one["preprocessing"].get("prompt", ""))


SESSION = onnxruntime.InferenceSession(
    str(HERE / "model.onnx"), providers=["CPUExecutionProvider"]
)
READERS = [(_tokenizer_of(one), one) for one in CARD["texts"]]


def fed(raw):
    """Return what the graph reads of a text, a pair of texts or a text with words."""
    found = {}
    for tokenizer, one in READERS:
        table = laid_out(tokenizer.pieces(raw), one["length"])
        if not len(table):
            table = np.array([[one["pad"], 0, 0, 0]], dtype=np.int64)
        table = filled(table, one["length"], one["pad"])
        # 1: read and counted, 2: read, but counted in another window, 0: not read.
        mask = np.where(table[:, COUNTS] > 0, 1, 2) * (table[:, WORD] != FILLER)
        columns = [table[:, ID], mask, table[:, TYPE], np.maximum(table[:, WORD], 0)]
        found |= {name: c[None].astype(np.int64) for name, c in zip(one["inputs"], columns)}
    return found


def given():
    """Return the texts, or pairs of texts, of the command line or of standard input."""
    texts = sys.argv[1:]
    if texts[:1] == ["--pair"]:
        return list(zip(texts[1::2], texts[2::2], strict=True))
    return texts or [line.rstrip("\\r\\n") for line in sys.stdin if line.strip()]
'''

_ANSWER = '''
def predict(raw):
    """Return the probability of every class, or the value."""
    (output,) = SESSION.run(None, fed(raw))
    if CARD["kind"] == "regression":
        return float(output.reshape(-1)[0])
    return dict(zip(CARD["classes"], output[0].tolist()))


if __name__ == "__main__":
    for text in given():
        print(json.dumps({"text": text, CARD["output"]["meaning"]: predict(text)}))
'''
