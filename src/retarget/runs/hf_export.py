"""Export to a Hugging Face folder: classes of transformers alone, no code of anybody's.

Those classes read a text by its first piece, through a layer of their own that bends what it is
given. Where the bend is a tanh, the layer gets the identity times a power of two so small that
nothing is bent, and the head that power's inverse; where it is a ReLU or GELU, the identity and a
shift into the part where it is straight. Means over pieces can't be said that way.
"""

import copy
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from retarget.core.errors import UsageError
from retarget.core.paths import umask
from retarget.core.types import BoolArray, FloatArray
from retarget.methods.heads import LinearHead
from retarget.methods.model import Member, TransferModel
from retarget.runs.exported import Exported, checked, difference_of, model_says
from retarget.sources.hf_encoder import quiet
from retarget.sources.hf_text import HfText
from retarget.sources.source import Source
from retarget.sources.taps import LAST
from retarget.sources.text_intake import PAIR, TRIED
from retarget.tasks.words import Worded, worded

Bend = Literal["tanh", "straight above"]
# By model type: where the layer before the head lies, where the head, what bends between them.
_HEADS: dict[str, tuple[str, str, Bend]] = {
    "bert": ("bert.pooler.dense", "classifier", "tanh"),
    "albert": ("albert.pooler", "classifier", "tanh"),
    "roberta": ("classifier.dense", "classifier.out_proj", "tanh"),
    "xlm-roberta": ("classifier.dense", "classifier.out_proj", "tanh"),
    "camembert": ("classifier.dense", "classifier.out_proj", "tanh"),
    "mpnet": ("classifier.dense", "classifier.out_proj", "tanh"),
    "distilbert": ("pre_classifier", "classifier", "straight above"),
    "electra": ("classifier.dense", "classifier.out_proj", "straight above"),
}
SMALL = 2.0**-20
_PROBLEMS = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
_MEAN_OF_PIECES = (
    "The model averages a word's pieces before it decides. The pipeline's aggregation_strategy "
    "'average' averages their probabilities instead, so scores of words of several pieces differ; "
    "for the model's own average the pieces' logits."
)


def export_huggingface(model: TransferModel, sources: Sequence[Source], folder: Path) -> Exported:
    """Write a folder that `transformers.pipeline` opens without a network or code.

    Raises:
        UsageError: no class of transformers says what the model says.
        StoreError: what was written does not agree with the model to 1e-4.
    """
    encoder, member = _expressible(model, sources)
    built = _built(model, encoder, member)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as stage, quiet():
        _write(built, encoder, Path(stage))
        difference, compared = _compared(model, encoder, Path(stage))
        checked(difference, model)
        folder.mkdir(exist_ok=True)
        files = sorted(path.name for path in Path(stage).iterdir())
        for name in files:
            (Path(stage) / name).chmod(0o666 & ~umask())
            (Path(stage) / name).replace(folder / name)
    task = "token-classification" if model.kind == "tagging" else "text-classification"
    return Exported(
        folder,
        difference,
        files=tuple(files),
        compared=compared,
        usage=f"transformers.pipeline({task!r}, model={str(folder)!r}) in Python",
        notes=_notes(model, encoder),
    )


def _notes(model: TransferModel, encoder: HfText) -> tuple[str, ...]:
    long = (
        f"Texts of more than {encoder.length:,} pieces are read in windows by the model, and cut "
        "by the pipeline (truncation=True)."
    )
    return (long, _MEAN_OF_PIECES) if model.kind == "tagging" else (long,)


def _expressible(model: TransferModel, sources: Sequence[Source]) -> tuple[HfText, Member]:
    """Return the encoder and the one head of a model that transformers' classes can be."""
    encoder = sources[0].load()
    if not isinstance(encoder, HfText):
        raise UsageError(
            f"{sources[0].uri} is no text model of transformers, so no pipeline can be made of it; "
            "use --format onnx."
        )
    last = f"hidden_states.{_depth(encoder)}"
    pooling = "" if model.kind == "tagging" else " --pooling cls"
    wanted = f"`--method finetune{pooling}` or `--method probe --layer {last}{pooling}`"
    (member, *others) = model.members
    if others or len(sources) > 1 or not isinstance(member.head, LinearHead):
        raise _refusal(f"it has {len(model.members)} heads, of which one must be linear", wanted)
    if len(member.layers) != 1 or member.layers[0] not in (last, LAST):
        raise _refusal(f"its head reads {'+'.join(member.layers)}", wanted)
    if model.kind == "tagging":
        return encoder, member
    kind = str(encoder.model.config.model_type)  # type: ignore[union-attr]  # modules say nothing of it
    if kind not in _HEADS:
        raise UsageError(
            f"transformers' class for {kind} models has no plain head on the first piece, so this "
            f"model can't be a Hugging Face folder. Fit on a model of {', '.join(_HEADS)}, or use "
            "--format onnx."
        )
    if member.layers[0] == LAST:
        reading = encoder.reading
        first = tuple(encoder.pooling) == ("cls",) and not (reading.normalize or reading.dense)
        first = first and model.pooling not in ("first+last", "mean+max")
        told = f"its head reads {LAST}, here the {'+'.join(encoder.pooling)} of the pieces"
        told += ", through dense layers" if reading.dense else ""
        told += ", normalized" if reading.normalize else ""
    else:
        first, told = model.pooling == "cls", f"its head reads the {model.pooling} of the pieces"
    if encoder.reading.prompt:
        raise UsageError(
            f"{sources[0].uri} reads every text behind its makers' prompt "
            f"{encoder.reading.prompt!r}, which a pipeline would leave out; use --format onnx."
        )
    if not first or not encoder.tokenizer.begins:
        raise _refusal(told, wanted)
    return encoder, member


def _refusal(why: str, wanted: str) -> UsageError:
    return UsageError(
        f"This model can't be a Hugging Face folder: there a class has one linear head on the last "
        f"layer, and {why}. Fit with {wanted}, or use --format onnx."
    )


def _depth(encoder: HfText) -> int:
    """Return the number of the last hidden state."""
    return int(getattr(encoder.model.config, "num_hidden_layers", -1))


def folded(model: TransferModel, member: Member) -> tuple[FloatArray, FloatArray]:
    """Return one weight (K, D) and bias (K,), float64, for scale, head and temperatures."""
    head, scale = member.head.arrays(), member.scale
    weight = head["weight"].astype(np.float64) * scale.factor
    bias = head["bias"] - weight @ scale.centre.astype(np.float64)
    temperature = member.temperature * (1.0 if model.kind == "regression" else model.temperature)
    return weight / temperature, bias / temperature


def _built(model: TransferModel, encoder: HfText, member: Member) -> nn.Module:
    """Return transformers' module with the encoder's weights and the head."""
    import transformers

    config: Any = copy.deepcopy(encoder.model.config)
    config.id2label = dict(enumerate(model.classes))
    config.label2id = {name: i for i, name in enumerate(model.classes)}
    tagging = model.kind == "tagging"
    if not tagging:
        config.problem_type = _PROBLEMS[model.kind]
    auto: Any = (
        transformers.AutoModelForTokenClassification
        if tagging
        else transformers.AutoModelForSequenceClassification
    )
    kind = str(config.model_type)
    try:
        with quiet():
            built = auto.from_config(config, trust_remote_code=False).eval()
        theirs = encoder.model.state_dict()
        missing, unknown = built.base_model.load_state_dict(theirs, strict=False)
        _, place, bend = _HEADS[kind] if not tagging else ("", "classifier", "tanh")
        head = built.get_submodule(place)
    except (ValueError, AttributeError, RuntimeError) as error:
        raise UsageError(
            f"transformers has no such head for {kind} models ({str(error)[:100]}); use --format "
            "onnx."
        ) from error
    if unknown or any(not name.startswith("pooler") for name in missing):
        raise UsageError(f"transformers' class for {kind} models differs; use --format onnx.")
    weight, bias = (torch.from_numpy(a) for a in folded(model, member))
    if not tagging:
        weight, bias = _straight(built, encoder, bend, weight, bias)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return built  # type: ignore[no-any-return]  # made by a factory without types


def _straight(
    built: Any, encoder: HfText, bend: Bend, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Make the layer before the head pass on what it is given; return the head that fits it."""
    layer = built.get_submodule(_HEADS[str(built.config.model_type)][0])
    shift = 0.0 if bend == "tanh" else _beyond(encoder)
    scale = SMALL if bend == "tanh" else 1.0
    with torch.no_grad():
        layer.weight.copy_(torch.eye(layer.out_features) * scale)
        layer.bias.fill_(shift)
    return weight / scale, bias - shift * weight.sum(dim=1)


def _beyond(encoder: HfText) -> float:
    """Return a shift that leaves no first piece below where ReLU and GELU are straight: four
    times the largest number seen, and six."""
    name = f"hidden_states.{_depth(encoder)}"
    batch = encoder.collate([encoder.prepare(text) for text in (*TRIED, PAIR)])
    with torch.inference_mode():
        seen = encoder.pooled(batch, "cls")[name]
    return float(np.ceil(4.0 * seen.abs().max().item() + 6.0))


def _write(built: Any, encoder: HfText, folder: Path) -> None:
    from tokenizers import Tokenizer

    built.save_pretrained(folder)
    text = encoder.tokenizer.to_json()
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    types = int(getattr(built.config, "type_vocab_size", 0) or 0) > 1
    told = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": encoder.length,
        "pad_token": Tokenizer.from_str(text).id_to_token(encoder.pad),
        "model_input_names": [
            "input_ids",
            *(["token_type_ids"] if types else []),
            "attention_mask",
        ],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(told, indent=1, ensure_ascii=False))


def _compared(model: TransferModel, encoder: HfText, folder: Path) -> tuple[float, str]:
    """Return the largest difference of what was written, and on what."""
    texts: list[Any] = [*TRIED, PAIR]
    if model.kind == "tagging":
        texts = [worded(text) for text in TRIED]
    texts = [text for text in texts if encoder.windows(encoder.prepare(text)) == 1]
    if not texts:
        raise UsageError("The model's windows are too short for any text; use --format onnx.")
    ours, _ = model_says(model, [encoder], texts)
    if model.kind != "tagging":
        return difference_of(ours, _scores(texts, model, folder)), f"{len(texts)} texts"
    theirs, known = _words(texts, encoder, folder)
    return difference_of(ours[known], theirs), f"{len(theirs)} words of {len(texts)} texts"


def _scores(texts: Sequence[Any], model: TransferModel, folder: Path) -> FloatArray:
    """Return what the pipeline says of texts, (n, K) in the order of the classes."""
    import transformers

    made: Any = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    rows = []
    for text in texts:
        given = {"text": text[0], "text_pair": text[1]} if isinstance(text, tuple) else text
        told = made(given, top_k=None)
        scores = {one["label"]: one["score"] for one in told}
        rows.append([scores[name] for name in model.classes])
    return np.array(rows)


def _words(texts: Sequence[Worded], encoder: HfText, folder: Path) -> tuple[FloatArray, BoolArray]:
    """Return what the folder's model says of words that have pieces (n, K), by the mean of their
    logits, and which of all words these are."""
    import transformers

    auto: Any = transformers.AutoModelForTokenClassification
    loaded = auto.from_pretrained(folder, local_files_only=True).eval()
    rows, known = [], []
    for text in texts:
        pieces = encoder.tokenizer.pieces(text)
        with torch.inference_mode():
            logits = loaded(input_ids=torch.from_numpy(pieces.ids)[None]).logits[0]
        for k in range(1, len(text.words) + 1):
            own = logits[torch.from_numpy(pieces.words == k)]
            known.append(len(own) > 0)
            if len(own):
                rows.append(own.mean(dim=0).softmax(dim=0).numpy())
    return np.array(rows), np.array(known)
