"""`HfText`: any text encoder or decoder of transformers, its layers read from `hidden_states`."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from retarget.core.errors import SourceError
from retarget.core.types import Pooling
from retarget.sources.blueprint import Blueprint
from retarget.sources.dense import PREFIX, DenseShape, apart, dense_layers
from retarget.sources.hf_encoder import filled_model
from retarget.sources.taps import spread
from retarget.sources.text_encoder import FINAL, FIRST, TextEncoder, layers_of, sentence_vector
from retarget.sources.text_pooling import NAMED
from retarget.sources.tokenizing import TextTokenizer
from retarget.sources.tracing import FAILURES

if TYPE_CHECKING:
    from retarget.sources.hub_folder import HubFolder

MOST_PLACES = 8192


@dataclass(frozen=True)
class Reading:
    """How the makers of a model have it read texts.

    Attributes:
        length: places at most; `None` for all that the model has.
        pooling: ways of pooling as sentence-transformers names them, joined; empty for the usual:
            the mean, or the last token of models that only look back.
        normalize: whether the vector of a text has length 1.
        lowercase: whether texts are lowercased first.
        dense: layers that what was pooled goes through, one behind the other.
        prompt: what is put before every text.
    """

    length: int | None = None
    pooling: tuple[str, ...] = ()
    normalize: bool = False
    lowercase: bool = False
    dense: tuple[DenseShape, ...] = ()
    prompt: str = ""

    def record(self) -> dict[str, Any]:
        """Return it, JSON-able. `dense` and `prompt` are only there where there are some."""
        return {
            **({"dense": [shape.record() for shape in self.dense]} if self.dense else {}),
            **({"prompt": self.prompt} if self.prompt else {}),
            "length": self.length,
            "pooling": list(self.pooling),
            "normalize": self.normalize,
            "lowercase": self.lowercase,
        }

    @classmethod
    def from_record(cls, record: Any) -> "Reading":
        """Return what `record()` described. Raises `SourceError`."""
        names = ("length", "pooling", "normalize", "lowercase")
        if not isinstance(record, dict) or set(record) - {"dense", "prompt"} != set(names):
            raise SourceError(f"How texts are read is said by {', '.join(names)}, all of them.")
        length, pooling, normalize, lowercase = (record[name] for name in names)
        dense, prompt = record.get("dense", []), record.get("prompt", "")
        good = (
            (length is None or (type(length) is int and length >= 1))
            and isinstance(pooling, list)
            and all(isinstance(name, str) and name in NAMED for name in pooling)
            and isinstance(normalize, bool)
            and isinstance(lowercase, bool)
            and isinstance(dense, list)
            and isinstance(prompt, str)
        )
        if not good:
            raise SourceError(
                "How texts are read is not valid: length is a number of places, pooling is of "
                f"{', '.join(NAMED)}, the others are true or false."
            )
        shapes = tuple(map(DenseShape.from_record, dense))
        return cls(length, tuple(pooling), normalize, lowercase, shapes, prompt)


class HfText(TextEncoder):
    """A text model of transformers. Layers are its hidden states: `hidden_states.0` are its
    embeddings, `pooled` is the vector of a text that its makers read.

    Attributes:
        model: transformers' module, in evaluation mode, without a head.
        reading: how texts enter and leave it.
        dense: what `reading` says that vectors go through, `None` for nothing.
        looks_back: whether a token only sees those before it.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: TextTokenizer,
        reading: Reading,
        name: str,
        dense: nn.Sequential | None = None,
    ) -> None:
        config: Any = model.config
        places = _places(model, config)
        length = min(reading.length or places, places, MOST_PLACES)
        pad = getattr(config, "pad_token_id", None)
        super().__init__(tokenizer, length, pad if isinstance(pad, int) and pad >= 0 else 0)
        self.model = model
        self.reading = reading
        self.dense = dense
        self._check_vocabulary(name)
        told = inspect.signature(model.forward).parameters
        self._options: dict[str, Any] = {"use_cache": False} if "use_cache" in told else {}
        types = getattr(config, "type_vocab_size", 0)
        self._types = types if "token_type_ids" in told and isinstance(types, int) else 0
        self.eval()
        self._names: tuple[str, ...] = ()
        self.looks_back = False
        self._probe(name)

    def _check_vocabulary(self, name: str) -> None:
        """Raise `SourceError` if the tokenizer gives ids that the model has no row for."""
        model: Any = self.model
        try:
            rows = int(model.get_input_embeddings().weight.shape[0])
        except (AttributeError, NotImplementedError) as error:
            raise SourceError(
                f"{name} has no embeddings of pieces, so it reads no texts."
            ) from error
        most = max(self.tokenizer.size - 1, self.pad)
        if most >= rows:
            raise SourceError(
                f"The tokenizer gives ids up to {most:,}, but {name} knows {rows:,} pieces. The "
                "two don't belong together; copy both from where the model came from."
            )

    @torch.no_grad()
    def _probe(self, name: str) -> None:
        """Run two texts of random pieces, to see what the layers look like."""
        batch = self.example_batch(2)
        try:
            output = self._run(batch)
            states = list(output.hidden_states or ())
            other = batch.clone()
            other[:, -1, 0] = (other[:, -1, 0] + 1) % self.tokenizer.size
            changed = self._run(other).last_hidden_state
            final = output.last_hidden_state
        except FAILURES as error:
            raise SourceError(
                f"{name} can't be used as an encoder of texts: its forward pass failed "
                f"({type(error).__name__}: {error})."
            ) from error
        if final.dim() != 3 or final.shape[:2] != batch.shape[:2] or not states:
            raise SourceError(f"{name} gives no states of its tokens, so it can't be used.")
        self.looks_back = batch.shape[1] > 1 and bool(torch.equal(final[:, 0], changed[:, 0]))
        usable = [i for i, state in enumerate(states) if state.shape[:2] == batch.shape[:2]]
        self._names = tuple(spread([f"hidden_states.{i}" for i in usable]))
        widths = {k: states[int(k.rpartition(".")[2])].shape[2] for k in self._names}
        width, wanted = final.shape[2] * len(self.pooling), [s.inputs for s in self.reading.dense]
        if wanted and wanted[0] != width:
            raise SourceError(
                f"The dense layer behind the pooling of {name} reads {wanted[0]:,} numbers, but "
                f"the pooling gives {width:,}."
            )
        sentence = self._sentence(final, batch[:, :, 3].float())
        self.layers = layers_of(widths, sentence.shape[1])

    def _run(self, windows: Tensor) -> Any:
        types = (
            {"token_type_ids": windows[:, :, 2].clamp(max=self._types - 1)} if self._types else {}
        )
        with _plain_in_graphs(self.model):
            return self.model(
                input_ids=windows[:, :, 0],
                attention_mask=_attended(windows),
                output_hidden_states=True,
                return_dict=True,
                **types,
                **self._options,
            )

    def _states(self, batch: Tensor) -> dict[str, Tensor]:
        output = self._run(batch)
        states = output.hidden_states
        chosen = {name: states[int(name.rpartition(".")[2])] for name in self._names}
        early = states[min(1, len(states) - 1)]
        return {**chosen, FIRST: early, FINAL: output.last_hidden_state}

    def _sentence(self, tokens: Tensor, counts: Tensor) -> Tensor:
        normalize = self.reading.normalize
        return sentence_vector(tokens, counts, self.pooling, normalize=normalize, dense=self.dense)

    @property
    def pooling(self) -> Sequence[str]:
        """Ways of pooling, by sentence-transformers' names, that `pooled` joins."""
        usual = "lasttoken" if self.looks_back else "mean"
        return self.reading.pooling or (usual,)

    def weights(self) -> dict[str, Tensor]:
        """Return the model's tensors under its own names, those of `dense` after a prefix."""
        dense = {} if self.dense is None else self.dense.state_dict(prefix=PREFIX)
        return {**self.model.state_dict(), **dense}

    def preprocessing(self) -> Mapping[str, Any]:
        """Return how texts are read, JSON-able: `max_tokens` of a window, `lowercase`,
        `vocabulary` (pieces known), and the `pooling` and `normalize` of the layer `pooled`, with
        its `dense` layers between these where there are some; the `prompt` before every text."""
        dense = [shape.record() for shape in self.reading.dense]
        return {
            **({"dense": dense} if dense else {}),
            **({"prompt": self.reading.prompt} if self.reading.prompt else {}),
            "max_tokens": self.length,
            "lowercase": self.tokenizer.lowercases,
            "vocabulary": self.tokenizer.size,
            "pooling": "+".join(self.pooling),
            "normalize": self.reading.normalize,
        }

    def hub_folder(self, pooling: Pooling) -> "HubFolder | None":
        """Return the folder of a text, or of words, with transformers' own classes."""
        from retarget.sources.hf_folder import text_folder

        return text_folder(self, pooling)


@contextmanager
def _plain_in_graphs(model: Any) -> Iterator[None]:
    """Have attention written out where the model becomes a graph: the fused operator is exported
    with a guard against rows that attend to nothing, of which there are none here."""
    known = callable(getattr(model, "set_attn_implementation", None))
    if not (known and torch.onnx.is_in_onnx_export()):
        yield
        return
    usual = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def _attended(windows: Tensor) -> Tensor:
    """Return what is attended to (b, t). The first token always is: attention to nothing is not
    a number, and windows of padding alone are found beside longer texts."""
    first = torch.ones_like(windows[:, :1, 1])
    return torch.cat([first, windows[:, 1:, 1]], dim=1)


def _places(model: nn.Module, config: Any) -> int:
    """Return how many tokens the model has places for, `MOST_PLACES` where it has no bound."""
    places = getattr(config, "max_position_embeddings", None)
    if not isinstance(places, int) or places < 1:
        return MOST_PLACES
    for name, module in model.named_modules():
        # RoBERTa and its kind count places from behind that of the padding.
        if "position" in name and isinstance(module, nn.Embedding) and module.padding_idx:
            return max(1, min(places, module.num_embeddings - module.padding_idx - 1))
    return places


def build_text(blueprint: Blueprint, weights: Mapping[str, Tensor] | int) -> HfText:
    """Return the encoder of a blueprint with these weights, or random ones of this seed."""
    if blueprint.side:
        raise SourceError("texts have no size in pixels")
    reading = Reading.from_record(blueprint.arguments.get("reading"))
    text, lower = blueprint.arguments["tokenizer"], reading.lowercase
    tokenizer = TextTokenizer(text, lowercase=lower, prompt=reading.prompt)
    own, behind = apart(weights, bool(reading.dense))
    model = filled_model(blueprint, own)
    dense = dense_layers(reading.dense, behind)
    return HfText(model, tokenizer, reading, blueprint.architecture, dense)
