"""What the denominators of transfer gain are called: in a sentence, and in the room of a plot."""

from retarget.evaluation.gain import denominator_name
from retarget.evaluation.metrics import METRICS

_SHORT = {
    "majority": "guessing",
    "pixels": "pixels alone",
    "tfidf": "TF-IDF",
    "crf": "CRF on words",
    "random": "random weights",
    "scratch": "trained from scratch",
    "small-cnn": "a small CNN",
}


def long_name(name: str, metric: str) -> str:
    """Return what a denominator is: `pixels` → `pixels and edges alone`."""
    return denominator_name(name, metric) if metric in METRICS else name


def short_name(name: str) -> str:
    """Return the same in two words: `random:timm:resnet50` → `random weights`."""
    return _SHORT.get(name.partition(":")[0], name)
