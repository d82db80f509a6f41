"""The `example.py` beside an exported text model: strings in, predictions out, with no Retarget.

How a text is read is not written a second time: the code that reads it here is copied from where
it stands, so the two can't drift apart.
"""

import ast
import inspect
from collections.abc import Iterator
from types import ModuleType

from retarget.core.types import Kind
from retarget.sources import static_encoder, tokenizing, windows
from retarget.tasks import words

_LEFT_OUT = {
    tokenizing: {"Tokenizes"},
    windows: set(),
    static_encoder: {
        "MOST_NUMBERS", "UNBOUNDED", "StaticEncoder", "build_static", "_made", "folded",
    },
    words: {"worded"},
}  # fmt: skip


def example(kind: Kind, *, static: bool) -> str:
    """Return the script for a kind of prediction; `static` for vectors of words or pieces."""
    modules = [tokenizing, windows]
    modules += [static_encoder] if static else []
    modules += [words] if kind == "tagging" else []
    copied = [part for module in modules for part in _parts(module, _LEFT_OUT[module])]
    using = _TAGGING if kind == "tagging" else _WHOLE
    return "\n\n\n".join([_HEAD.rstrip(), *copied, _FEEDING.strip(), using.strip()]) + "\n"


def _parts(module: ModuleType, left_out: set[str]) -> Iterator[str]:
    """Yield the definitions of a module as they are written, without its imports."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    for node in ast.parse(source).body:
        name = getattr(node, "name", None)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            name = target.id if isinstance(target, ast.Name) else ""
        elif name is None:  # imports, the docstring
            continue
        if name in left_out:
            continue
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        yield "\n".join(lines[first - 1 : node.end_lineno])


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

_WHOLE = '''
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

_TAGGING = '''
def marginals(scores, chain):
    """Return (n, K) the probability of every tag of a linear chain with emissions (n, K)."""
    moves, start, end = (np.array(chain[k]) for k in ("transitions", "start", "end"))
    barred = np.where(ALLOWED, 0.0, -np.inf)
    moves, start = moves + barred[:-1], start + barred[-1]

    def total(x, axis):
        top = x.max(axis=axis, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            return np.log(np.exp(x - top).sum(axis=axis)) + top.squeeze(axis)

    n = len(scores)
    before, after = np.empty_like(scores), np.empty_like(scores)
    before[0], after[-1] = start + scores[0], end
    for i in range(1, n):
        before[i] = scores[i] + total(before[i - 1][:, None] + moves, 0)
        after[n - 1 - i] = total(moves + (scores[n - i] + after[n - i])[None], 1)
    both = before + after
    return np.exp(both - total(both, 1)[:, None])


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def probabilities(text):
    """Return (n, K) the probability of every tag of every word."""
    (output,) = SESSION.run(None, fed(text))
    output = output[0, : len(text.words)].astype(np.float64)
    if "members" not in CARD:
        return output
    mean = 0.0
    for i, member in enumerate(CARD["members"]):
        found = output[:, i]
        if member["chain"]:
            logs = np.log(np.maximum(marginals(found, member["chain"]), 1e-30))
            found = logs / member["temperature"]
        mean = mean + member["share"] * softmax(found)
    return softmax(np.log(np.maximum(mean, 1e-300)) / CARD["temperature"])


def allowed():
    """Return (K + 1, K) which tag may follow which, the last row of first tags: I-x follows B-x
    and I-x alone."""
    tags = CARD["classes"]
    rows = [[t[0] != "I" or a in ("B" + t[1:], t) for t in tags] for a in tags]
    return np.array([*rows, [t[0] != "I" for t in tags]])


ALLOWED = allowed()


def best(found):
    """Return the numbers of the most probable tags that may follow each other (Viterbi)."""
    logs = np.log(np.maximum(found, 1e-300))
    barred = np.where(ALLOWED, 0.0, -np.inf)
    sums, back = logs[0] + barred[-1], []
    for row in logs[1:]:
        through = sums[:, None] + barred[:-1]
        back.append(through.argmax(axis=0))
        sums = through.max(axis=0) + row
    tags = [int(sums.argmax())]
    for came in reversed(back):
        tags.append(int(came[tags[-1]]))
    return tags[::-1]


def predict(text):
    """Return the spans of a text: characters from `start` up to `end`, what they are, and the
    mean probability of their words' tags."""
    words = split_words(text)
    if not words:
        return []
    found = probabilities(Worded(text, words))
    spans = []
    for k, number in enumerate(best(found)):
        tag, (start, end) = CARD["classes"][number], words[k]
        if tag[0] == "B":
            spans.append({"start": start, "end": end, "label": tag[2:], "sure": []})
        if tag[0] != "O":
            spans[-1]["end"] = end
            spans[-1]["sure"].append(float(found[k, number]))
    for span in spans:
        span["text"] = text[span["start"] : span["end"]]
        span["probability"] = float(np.mean(span.pop("sure")))
    return spans


if __name__ == "__main__":
    for text in given():
        print(json.dumps({"text": text, "spans": predict(text)}))
'''
