"""What one forward pass tells of an encoder: which modules are called, what depends on what."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from retarget.core.errors import SourceError

if TYPE_CHECKING:
    from retarget.sources.encoder import Encoder, Group

# What the forward passes of other people's models raise.
FAILURES = (
    RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError, AssertionError,
)  # fmt: skip


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes:
        path: the calls that it was made in, outermost first.
        number: which call of this module it is, from 0.
        output: what it returned; its tensors are in the graph.
        nodes: of the graph, that its output's tensors came from when it returned.
    """

    module: nn.Module
    path: tuple["Call", ...]
    number: int
    output: Any = None
    nodes: tuple[Any, ...] = ()


@dataclass
class Trace:
    """A forward pass.

    Attributes:
        calls: of all modules below the encoder, in the order in which they were completed.
        tokens: the encoder's layers, in the graph.
    """

    calls: list[Call] = field(default_factory=list)
    tokens: dict[str, Tensor] = field(default_factory=dict)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples, lists and mappings, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from tensors_in(inner)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from tensors_in(inner)


def with_tensors(value: Any, tensors: Iterator[Tensor]) -> Any:
    """Return nested tuples, lists and mappings as they are, with other tensors in them."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, (tuple, list)):
        made = [with_tensors(inner, tensors) for inner in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    if isinstance(value, Mapping):
        twin: Any = copy.copy(value)
        for name, inner in value.items():
            twin[name] = with_tensors(inner, tensors)
        return twin
    return value


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode inside the block, and each back as it was after."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _differentiable(model: nn.Module) -> Iterator[None]:
    """Have every parameter want a gradient inside the block."""
    frozen = [p for p in model.parameters() if p.is_floating_point() and not p.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


@contextmanager
def listening(
    modules: Iterable[nn.Module],
    called: Callable[[nn.Module], None],
    done: Callable[[nn.Module, Any], None],
) -> Iterator[None]:
    """Tell of every call of the modules inside the block, and of what it returned."""

    def before(module: nn.Module, inputs: Any) -> None:
        called(module)

    def after(module: nn.Module, inputs: Any, output: Any) -> None:
        done(module, output)

    handles = []
    try:
        for module in modules:
            handles += [
                module.register_forward_pre_hook(before),
                module.register_forward_hook(after),
            ]
        yield
    finally:
        for handle in handles:
            handle.remove()


def random_batch(encoder: "Encoder", count: int) -> Tensor:
    """Return the encoder's own `example_batch`."""
    return encoder.example_batch(count)


def trace(encoder: "Encoder", batch: Tensor) -> Trace:
    """Run a batch through an encoder in evaluation mode, watching. Raises `SourceError`."""
    found = Trace()
    stack: list[Call] = []
    numbers: dict[nn.Module, int] = {}

    def called(module: nn.Module) -> None:
        number = numbers.get(module, 0)
        numbers[module] = number + 1
        stack.append(Call(module, tuple(stack), number))

    def done(module: nn.Module, output: Any) -> None:
        call = stack.pop()
        call.output = output
        call.nodes = tuple(tensor.grad_fn for tensor in tensors_in(output))
        found.calls.append(call)

    below = [module for module in encoder.modules() if module is not encoder]
    with evaluating(encoder), _differentiable(encoder), listening(below, called, done):
        try:
            given = batch.detach().clone()
            if given.is_floating_point():
                # Times one, since what is no leaf may be changed in place.
                given = given.requires_grad_(True) * 1
            found.tokens = encoder(given)
        except FAILURES as error:
            raise SourceError(
                f"The encoder's forward pass could not be followed with gradients "
                f"({type(error).__name__}: {error})."
            ) from error
    return found


def groups(encoder: "Encoder") -> "tuple[Group, ...]":
    """Return every parameter once, by the first layer that depends on it.

    What no layer depends on goes with the shallowest of its neighbours: the parameters of the
    innermost module around it.
    """
    from retarget.sources.encoder import Group

    names = {id(parameter): name for name, parameter in encoder.named_parameters()}
    depths: dict[str, int] = {}
    if names:
        tokens = trace(encoder, random_batch(encoder, 2)).tokens
        seen: set[Any] = set()
        for depth, layer in enumerate(encoder.layers):
            for leaf in leaves(tokens[layer.name].grad_fn, seen):
                if id(leaf) in names:
                    depths[names[id(leaf)]] = depth
        if not depths:
            raise SourceError(
                "No layer of the encoder depends on its parameters: its forward pass stops "
                "gradients (no_grad, detach), so it can't be trained. Remove what stops them."
            )
    around = _shallowest(depths)
    found: list[list[str]] = [[] for _ in encoder.layers]
    for name in names.values():
        found[depths[name] if name in depths else _nearest(name, around)].append(name)
    return tuple(
        Group(layer.name, tuple(group)) for layer, group in zip(encoder.layers, found, strict=True)
    )


def leaves(node: Any, seen: set[Any]) -> Iterator[Tensor]:
    """Yield the leaves that a node of the graph depends on, but for what was seen before."""
    stack = [node]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        stack += [before for before, _ in node.next_functions]


def _shallowest(depths: Mapping[str, int]) -> dict[str, int]:
    """Return, for every module by name, the least depth of the parameters in it."""
    found: dict[str, int] = {}
    for name, depth in depths.items():
        while name:
            name = name.rpartition(".")[0]
            found[name] = min(depth, found.get(name, depth))
    return found


def _nearest(name: str, around: Mapping[str, int]) -> int:
    while name := name.rpartition(".")[0]:
        if name in around:
            return around[name]
    return 0
