"""Rules for choosing on frozen features: what was seen out of fold in, weights of candidates out.

`benchmarks/choice.py` compares them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from medical import LITE0, SOURCES, auroc
from retarget.evaluation.calibration import apply_temperature
from retarget.features.table import Table
from retarget.methods.base import Labels
from retarget.methods.losses import example_losses
from retarget.selection.candidates import Candidate
from retarget.selection.select import tempered
from retarget.selection.trials import Trial, standard_error
from retarget.sources.pixels import PixelSource

PIXEL_URI = PixelSource.uri
WITH_PIXELS = (*SOURCES, PIXEL_URI)
BEST = 3
LABELS_A_BEST = 20
PRIOR = 20.0
TINY = 1e-12

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rule = Callable[["Drawn"], Array]


@dataclass(frozen=True)
class Score:
    """AUROC and log-loss on the other examples, and multiply-adds relative to the cheapest."""

    auroc: float
    loss: float
    cost: float


@dataclass(frozen=True)
class Drawn:
    """One draw: T candidates judged out of fold on n labels, and applied to m other examples.

    Attributes:
        labels: of the n.
        units: (n,) rows of one unit hang together.
        trials: the T candidates.
        applied: (T, m, K) probabilities of the others.
        truth: (m,) their classes.
        tables: by source; only costs and layers are read.
    """

    labels: Labels
    units: Ints
    trials: tuple[Trial, ...]
    applied: Array
    truth: Ints
    tables: dict[str, Table]

    @cached_property
    def out_of_fold(self) -> Array:
        """(T, n, K) probabilities."""
        return np.stack([t.predictions for t in self.trials])

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """The T candidates themselves."""
        return tuple(t.candidates[0] for t in self.trials)

    def usual(self, *uris: str) -> Ints:
        """Return which candidates of some sources `fit` would try, best first."""
        found = [i for i, c in enumerate(self.candidates) if c.source in uris and self._usual(c)]
        return np.array(sorted(found, key=lambda i: self.trials[i].loss))

    def anchors(self, uri: str) -> list[int]:
        """Return the probe on a source's deepest layer and the one on all its layers."""
        layers = self.tables[uri].layers
        return self._probes(uri, layers[-1:]) + self._probes(uri, layers)

    def halves(self, uri: str) -> list[int]:
        """Return the probes on the shallow and on the deep half of a source's layers."""
        layers = self.tables[uri].layers
        middle = len(layers) // 2
        return self._probes(uri, layers[:middle]) + self._probes(uri, layers[middle:])

    def mixed(self, weights: Array) -> tuple[float, Array]:
        """Return the temperature of an average, and its losses (n,) out of fold."""
        average = np.einsum("t,tnk->nk", weights, self.out_of_fold)
        temperature, predictions = tempered(self.labels, average)
        return temperature, np.asarray(example_losses(self.labels, predictions))

    def score(self, weights: Array) -> Score:
        """Return what an average scores on the other examples."""
        average = np.einsum("t,tmk->mk", weights, self.applied)
        predictions = apply_temperature(average, self.mixed(weights)[0], "classification")
        own = predictions[np.arange(len(self.truth)), self.truth]
        used = {c.source for c, weight in zip(self.candidates, weights, strict=True) if weight > 0}
        cost = sum(self.tables[uri].cost for uri in used) / self.tables[LITE0].cost
        loss = float(-np.log(np.maximum(own, TINY)).mean())
        return Score(auroc(self.truth, predictions), loss, cost)

    def _usual(self, candidate: Candidate) -> bool:
        return len(candidate.layers) in (1, len(self.tables[candidate.source].layers))

    def _probes(self, uri: str, layers: Sequence[str]) -> list[int]:
        wanted = (uri, tuple(layers), "probe")
        return [
            i
            for i, c in enumerate(self.candidates)
            if (c.source, c.layers, c.method.name) == wanted
        ]


def plain(drawn: Drawn, members: Sequence[int] | Ints) -> Array:
    """Return equal weights, however often a member is named."""
    weights = np.zeros(len(drawn.trials))
    weights[np.unique(members)] = 1.0
    return np.asarray(weights / weights.sum())


def average_of(drawn: Drawn, uri: str) -> Array:
    """The average that speaks for a source: its three best and its anchors."""
    return plain(drawn, [*drawn.usual(uri)[:BEST], *drawn.anchors(uri)])


def one_source(drawn: Drawn) -> Array:
    """Three best and anchors of a source, or a trial beyond luck; cheapest within one error."""
    spoken = [_representative(drawn, uri) for uri in SOURCES]
    losses = [drawn.mixed(weights)[1] for weights in spoken]
    best = min(losses, key=lambda own: float(own.mean()))
    alike = (_apart(drawn, best, own) <= 1.0 for own in losses)
    return next(weights for weights, near in zip(spoken, alike, strict=True) if near)


def growing(drawn: Drawn, sources: Sequence[str] = SOURCES, extra: Sequence[int] = ()) -> Array:
    """The plain mean of all sources' anchors and bests, one for 20 labels and three at most."""
    best = min(BEST, len(drawn.labels) // LABELS_A_BEST)
    members = [i for uri in sources for i in (*drawn.usual(uri)[:best], *drawn.anchors(uri))]
    return plain(drawn, [*members, *extra])


def growing_with_pixels(drawn: Drawn, sources: Sequence[str] = SOURCES) -> Array:
    """The same, and the anchors of pixels."""
    return growing(drawn, sources, drawn.anchors(PIXEL_URI))


def growing_with_halves(drawn: Drawn) -> Array:
    """The same with pixels, and the halves of every source."""
    halves = [i for uri in SOURCES for i in drawn.halves(uri)]
    return growing(drawn, SOURCES, [*halves, *drawn.anchors(PIXEL_URI)])


def growing_with_prototypes(drawn: Drawn) -> Array:
    """The same with pixels, and a prototype on all layers of every source."""
    found = [
        i
        for i, c in enumerate(drawn.candidates)
        if c.method.name == "prototype"
        and c.source in SOURCES
        and c.layers == drawn.tables[c.source].layers
    ]
    return growing(drawn, SOURCES, [*found, *drawn.anchors(PIXEL_URI)])


def cheap_if_alike(drawn: Drawn) -> Array:
    """All sources and pixels only where clearly better than the cheapest source and pixels."""
    every, cheap = growing_with_pixels(drawn), growing_with_pixels(drawn, (LITE0,))
    near = _apart(drawn, drawn.mixed(every)[1], drawn.mixed(cheap)[1]) <= 1.0
    return cheap if near else every


def lowest(drawn: Drawn) -> Array:
    """The one candidate of the lowest loss."""
    return plain(drawn, drawn.usual(*SOURCES)[:1])


def last_layer(drawn: Drawn) -> Array:
    """A probe on the last layer of the cheapest source."""
    return plain(drawn, drawn.anchors(LITE0)[:1])


def all_layers(drawn: Drawn) -> Array:
    """A probe on all layers of every source."""
    return plain(drawn, [drawn.anchors(uri)[1] for uri in SOURCES])


def averages(drawn: Drawn, sources: Sequence[str] = SOURCES) -> Array:
    """The mean over sources of their averages."""
    return np.asarray(np.mean([average_of(drawn, uri) for uri in sources], axis=0))


def by_evidence(drawn: Drawn) -> Array:
    """Sources' averages weighed by likelihood out of fold (pseudo Bayesian model averaging)."""
    each = [average_of(drawn, uri) for uri in SOURCES]
    total = np.array([drawn.mixed(weights)[1].sum() for weights in each])
    share = np.exp(total.min() - total)
    return np.asarray(share / share.sum() @ np.stack(each))


def anchors_only(drawn: Drawn) -> Array:
    """The anchors of all sources: nothing is chosen."""
    return plain(drawn, [i for uri in SOURCES for i in drawn.anchors(uri)])


def stacked(drawn: Drawn) -> Array:
    """Weights that fit best out of fold, from a prior worth 20 labels, half of it on anchors.

    EM for the weights of a mixture (Wolpert 1992, Stacked generalization; its Dirichlet prior
    keeps it near what is taken without evidence).
    """
    every = drawn.usual(*WITH_PIXELS)
    anchors = np.mean([plain(drawn, drawn.anchors(uri)) for uri in WITH_PIXELS], axis=0)
    prior = 0.5 * anchors + 0.5 * plain(drawn, every)
    likelihood = _own_class(drawn)
    weights = prior
    for _ in range(300):
        shares = likelihood * weights
        shares /= shares.sum(axis=1, keepdims=True)
        weights = (shares.sum(axis=0) + PRIOR * prior) / (len(likelihood) + PRIOR)
    return np.asarray(weights)


def greedy(drawn: Drawn) -> Array:
    """Ten more members, one after another, that lower the loss most (Caruana et al. 2004,
    Ensemble selection from libraries of models), from all sources' averages."""
    members = [int(i) for uri in SOURCES for i in np.flatnonzero(average_of(drawn, uri))]
    likelihood, pool = _own_class(drawn), drawn.usual(*SOURCES)
    for _ in range(10):
        grown = likelihood[:, members].sum(axis=1)[:, None] + likelihood[:, pool]
        members.append(int(pool[np.argmin(-np.log(np.maximum(grown, TINY)).sum(axis=0))]))
    return np.bincount(members, minlength=len(drawn.trials)) / len(members)


def _representative(drawn: Drawn, uri: str) -> Array:
    """Return a source's average, unless a trial is better by more than luck explains."""
    average, usual = average_of(drawn, uri), drawn.usual(uri)
    best, losses = drawn.trials[usual[0]].losses, drawn.mixed(average)[1]
    clearly = _apart(drawn, best, losses) > np.sqrt(2.0 * np.log(len(usual) + 1))
    return plain(drawn, usual[:1]) if clearly else average


def _apart(drawn: Drawn, best: Array, other: Array) -> float:
    """Return the paired difference of mean losses in standard errors."""
    error = standard_error(other - best, drawn.units)
    difference = float((other - best).mean())
    return difference / error if error > 0 else (0.0 if difference <= 0 else np.inf)


def _own_class(drawn: Drawn) -> Array:
    """Return (n, T) the probability of each example's own class by each candidate."""
    n = len(drawn.labels)
    return np.asarray(drawn.out_of_fold[:, np.arange(n), drawn.labels.values].T)


RULES: dict[str, Rule] = {
    "one source by one error": one_source,
    "last layer, cheapest": last_layer,
    "lowest loss": lowest,
    "average, cheapest": partial(averages, sources=(LITE0,)),
    "growing, cheapest": partial(growing, sources=(LITE0,)),
    "growing, cheapest + pixels": partial(growing_with_pixels, sources=(LITE0,)),
    "all layers, all sources": all_layers,
    "averages": averages,
    "averages by evidence": by_evidence,
    "averages + pixels": partial(averages, sources=WITH_PIXELS),
    "anchors only": anchors_only,
    "growing": growing,
    "growing + pixels": growing_with_pixels,
    "… + halves": growing_with_halves,
    "… + prototypes": growing_with_prototypes,
    "… cheapest if alike": cheap_if_alike,
    "stacked + pixels": stacked,
    "greedy": greedy,
}
