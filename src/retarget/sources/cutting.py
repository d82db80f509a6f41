"""An encoder cut in two at a layer, whatever its modules are: `split`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from retarget.core.errors import SourceError
from retarget.core.types import Pooling
from retarget.sources.tracing import (
    FAILURES,
    Call,
    Trace,
    evaluating,
    listening,
    random_batch,
    tensors_in,
    trace,
    with_tensors,
)

if TYPE_CHECKING:
    from retarget.sources.encoder import Encoder, Split

FEW, MORE = 2, 3
TOLERANCE = 1e-5
POOLING: Pooling = "mean"

Act = Callable[[Tensor], Any]  # activations → what a call returns in a suffix
Maker = Callable[[Tensor], Tensor]  # activations → one tensor of that


class _Reached(Exception):  # noqa: N818 - it is how a prefix ends, nothing went wrong
    """The layer was computed; the rest of the pass is not wanted."""


@dataclass(frozen=True)
class _Shape:
    """How a tensor's shape follows from the size of the batch: `fixed` + `each` · examples."""

    fixed: tuple[int, ...]
    each: tuple[int, ...]

    @classmethod
    def of(cls, few: Tensor, more: Tensor) -> "_Shape":
        """Return it from the same tensor of two batches."""
        each = tuple((m - f) // (MORE - FEW) for f, m in zip(few.shape, more.shape, strict=True))
        return cls(tuple(f - FEW * e for f, e in zip(few.shape, each, strict=True)), each)

    def at(self, examples: int) -> tuple[int, ...]:
        """Return the shape for so many examples."""
        return tuple(f + e * examples for f, e in zip(self.fixed, self.each, strict=True))


@dataclass(frozen=True)
class _Cut:
    """Where an encoder is cut.

    Attributes:
        layer: its name.
        module: whose output the layer is.
        number: which of its calls returns the layer, from 0.
        place: of the layer among the tensors that it returns.
        shape: of one example's activations.
        acts: by module, what its first calls in a suffix return; `None` for what they compute.
        dense: whether zeros take memory.
    """

    layer: str
    module: nn.Module
    number: int
    place: int
    shape: tuple[int, ...]
    acts: Mapping[nn.Module, tuple[Act | None, ...]]
    dense: bool


def split(encoder: "Encoder", layer: str) -> "Split":
    """Return the encoder cut behind `layer`.

    The prefix runs the forward pass until the module that returns the layer is done, in
    evaluation mode and without gradients. The suffix runs all of the forward pass with the
    activations in place of what that module returns, and zeros, which take no memory, in place of
    what all modules before it return. What is computed from those zeros must not reach the deeper
    layers: that is checked here on a small batch.

    Raises `SourceError` for a layer that no module returns, for the deepest layer, and for models
    in which something passes by the cut.
    """
    names = [known.name for known in encoder.layers]
    if layer not in names[:-1]:
        raise SourceError(
            f"The encoder can't be cut behind {layer!r}. Choose from: {', '.join(names[:-1])}."
        )
    deeper = names[names.index(layer) + 1 :]
    few, more = (trace(encoder, random_batch(encoder, count)) for count in (FEW, MORE))
    if [call.module for call in few.calls] != [call.module for call in more.calls]:
        raise SourceError(_refusal(layer, "which modules are called depends on the input"))
    trouble = "it is not the output of one of the model's modules"
    for tap, place in _taps(few, layer):
        for dense in (False, True):  # what changes tensors in place needs zeros that take memory
            cut = _cut(layer, few, more, tap, place, dense=dense)
            if cut is None:
                trouble = "its values don't lie example by example"
                break
            made = _made(encoder, deeper, cut)
            if not (trouble := _trouble(encoder, made)):
                return made
    raise SourceError(_refusal(layer, trouble))


def _refusal(layer: str, reason: str) -> str:
    return f"The encoder can't be cut behind {layer!r}: {reason}. Cut it at another layer."


def _made(encoder: "Encoder", deeper: Sequence[str], cut: _Cut) -> "Split":
    from retarget.sources.encoder import Split

    def prefix(batch: Tensor) -> Tensor:
        return _prefix(encoder, cut, batch)

    def suffix(activations: Tensor, pooling: Pooling) -> dict[str, Tensor]:
        nothing = _zeros((len(activations), *encoder.input_shape), activations, dense=cut.dense)
        with _acting(cut.acts, activations):
            return encoder.pooled_of(nothing, pooling, deeper)

    return Split(cut.layer, cut.shape, prefix, suffix)


def _cut(layer: str, few: Trace, more: Trace, tap: Call, place: int, *, dense: bool) -> _Cut | None:
    """Return the cut behind a call, `None` where its output doesn't lie by example."""
    twin = more.calls[few.calls.index(tap)]
    shape = _Shape.of(list(tensors_in(tap.output))[place], list(tensors_in(twin.output))[place])
    if shape.fixed[0] or shape.each[0] != 1 or any(shape.each[1:]):
        return None
    before = few.calls[: few.calls.index(tap)]
    # Outermost only: what is called inside of these isn't called any more.
    replaced = {call for call in before if all(outer in tap.path for outer in call.path)}
    acts: dict[Call, Act | None] = dict.fromkeys(tap.path)
    for call, other in zip(few.calls, more.calls, strict=True):
        if call is tap or call in replaced:
            acts[call] = _act(call, other, place if call is tap else None, dense=dense)
    by_module: dict[nn.Module, list[Act | None]] = {}
    for call in sorted(acts, key=lambda call: call.number):
        by_module.setdefault(call.module, []).append(acts[call])
    played = {module: tuple(values) for module, values in by_module.items() if any(values)}
    return _Cut(layer, tap.module, tap.number, place, shape.fixed[1:], played, dense)


def _taps(found: Trace, layer: str) -> Iterator[tuple[Call, int]]:
    """Yield the calls that return a layer, and which of their tensors it is: the outermost that
    return nothing else, later ones first. Only changes of a single tensor may follow them, such as
    views."""
    node = found.tokens[layer].grad_fn
    while node is not None:
        # The first: not what comes later and passes the tensor on, such as a dropout.
        if tap := next((call for call in found.calls if node in call.nodes), None):
            for outer in reversed(tap.path):
                if node not in outer.nodes or set(outer.nodes) - set(tap.nodes):
                    break
                tap = outer
            yield tap, tap.nodes.index(node)
        before = [inner for inner, _ in node.next_functions if inner is not None]
        node = before[0] if len(before) == 1 else None


def _act(call: Call, other: Call, place: int | None, *, dense: bool) -> Act:
    """Return what gives a call's output for any number of examples: at `place` the activations,
    constants where it gave the same for both batches, else zeros."""
    pairs = list(zip(tensors_in(call.output), tensors_in(other.output), strict=True))
    makers = [
        _maker(few, more, dense=dense) if i != place else _given(few)
        for i, (few, more) in enumerate(pairs)
    ]
    empty = with_tensors(call.output, iter([torch.empty(0)] * len(pairs)))

    def act(activations: Tensor) -> Any:
        return with_tensors(empty, (make(activations) for make in makers))

    return act


def _given(few: Tensor) -> Maker:
    kind = few.dtype
    return lambda activations: activations.to(kind)


def _maker(few: Tensor, more: Tensor, *, dense: bool) -> Maker:
    if few.shape == more.shape and torch.equal(few, more):
        constant = few.detach().clone()
        return lambda activations: constant.to(activations.device)
    shape, kind = _Shape.of(few, more), few.dtype
    return lambda activations: _zeros(
        shape.at(len(activations)), activations, kind=kind, dense=dense
    )


def _zeros(
    shape: Sequence[int], like: Tensor, *, kind: torch.dtype = torch.float32, dense: bool
) -> Tensor:
    if dense:
        return torch.zeros(*shape, dtype=kind, device=like.device)
    return torch.zeros((), dtype=kind, device=like.device).expand(*shape)


def _prefix(encoder: "Encoder", cut: _Cut, batch: Tensor) -> Tensor:
    calls = 0
    found: list[Tensor] = []

    def done(module: nn.Module, output: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > cut.number:
            found.append(list(tensors_in(output))[cut.place].float().clone())
            raise _Reached

    with (
        evaluating(encoder),
        torch.no_grad(),
        listening([cut.module], lambda module: None, done),
        suppress(_Reached),
    ):
        encoder(batch)
    return found[0]


@contextmanager
def _acting(
    acts: Mapping[nn.Module, tuple[Act | None, ...]], activations: Tensor
) -> Iterator[None]:
    """Have modules return other things than they compute inside the block."""
    # Only what hangs on an instance: the class is not touched.
    before = {module: module.__dict__.get("forward") for module in acts}
    try:
        for module, values in acts.items():
            module.__dict__["forward"] = _stand_in(module.forward, values, activations)
        yield
    finally:
        for module, own in before.items():
            module.__dict__.pop("forward", None)
            if own is not None:
                module.__dict__["forward"] = own


def _stand_in(
    forward: Callable[..., Any], values: Sequence[Act | None], activations: Tensor
) -> Callable[..., Any]:
    waiting = iter(values)

    @wraps(forward)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        act = next(waiting, None)
        return forward(*args, **kwargs) if act is None else act(activations)

    return stand_in


def _trouble(encoder: "Encoder", made: "Split") -> str:
    """Return why a cut encoder isn't the whole one; "" where it is."""
    try:
        with evaluating(encoder), torch.no_grad():
            expected = encoder.pooled(random_batch(encoder, FEW), POOLING)
            found = made.suffix(made.prefix(random_batch(encoder, FEW)), POOLING)
    except FAILURES as error:
        return f"what lies behind doesn't run by itself ({type(error).__name__}: {error})"
    for name, value in found.items():
        scale = float(expected[name].abs().max())
        if not float((value - expected[name]).abs().max()) <= TOLERANCE * scale:
            return f"{name!r} depends on more than this layer, such as a connection that skips it"
    return ""
