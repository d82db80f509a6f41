"""A text model of transformers with one linear head as a Hugging Face folder: classes of
transformers alone, no code of anybody's."""

import copy
import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from retarget.core.errors import UsageError
from retarget.core.types import BoolArray, FloatArray, Pooling
from retarget.sources.hf_encoder import quiet
from retarget.sources.hf_heads import SEATS, Seat, fill_plain
from retarget.sources.hub_folder import HubFolder, LinearOutput
from retarget.sources.taps import LAST
from retarget.sources.text_intake import PAIR, TRIED

if TYPE_CHECKING:
    from retarget.sources.hf_text import HfText

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


def text_folder(encoder: "HfText", pooling: Pooling) -> HubFolder:
    """Return what an encoder of texts can be as a folder."""
    return _Words(encoder, pooling) if pooling == "words" else _Texts(encoder, pooling)


class _TextFolder(HubFolder):
    """What folders of texts and of words have in common."""

    noun: ClassVar[str] = "text"

    def __init__(self, encoder: "HfText", pooling: Pooling) -> None:
        self.encoder, self.model_pooling = encoder, pooling
        config: Any = encoder.model.config
        self.config, self.kind = config, str(config.model_type)
        self.last = f"hidden_states.{getattr(self.config, 'num_hidden_layers', -1)}"
        self.notes = (
            f"Texts of more than {encoder.length:,} pieces are read in windows by the model, and "
            "cut by the pipeline (truncation=True).",
        )
        self.tried = [raw for raw in (*TRIED, PAIR) if encoder.windows(encoder.prepare(raw)) == 1]

    def refuse(self, layer: str) -> None:
        """Raise `UsageError` for another than the last layer, and for windows too short."""
        if layer not in (self.last, LAST):
            raise self._refusal(f"its head reads {layer}")
        if not self.tried:
            raise UsageError(
                "The model's windows are too short for any text to be a Hugging Face folder that "
                "was tried; use --format onnx."
            )

    def write(self, output: LinearOutput, folder: Path) -> None:
        """Write configuration, weights and tokenizer."""
        config: Any = copy.deepcopy(self.config)
        config.id2label = dict(enumerate(output.classes))
        config.label2id = {name: i for i, name in enumerate(output.classes)}
        try:
            built = self._built(config, output)
        except (ValueError, AttributeError, RuntimeError) as error:
            raise UsageError(
                f"transformers has no such head for {self.kind} models ({str(error)[:100]}); use "
                "--format onnx."
            ) from error
        built.save_pretrained(folder)
        self._write_tokenizer(folder)

    @abstractmethod
    def _built(self, config: Any, output: LinearOutput) -> Any:
        """Return transformers' module with the encoder's weights and the head."""

    def _model(self, auto: Any, config: Any) -> Any:
        """Return an automatic class's module with the encoder's weights, the head unwritten."""
        with quiet():
            built = auto.from_config(config, trust_remote_code=False).eval()
        theirs = self.encoder.model.state_dict()
        missing, unknown = built.base_model.load_state_dict(theirs, strict=False)
        if unknown or any(not name.startswith("pooler") for name in missing):
            raise UsageError(
                f"transformers' class for {self.kind} models differs; use --format onnx."
            )
        return built

    def _write_tokenizer(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        text = self.encoder.tokenizer.to_json()
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        types = int(getattr(self.config, "type_vocab_size", 0) or 0) > 1
        told = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": self.encoder.length,
            "pad_token": Tokenizer.from_str(text).id_to_token(self.encoder.pad),
            "model_input_names": [
                "input_ids",
                *(["token_type_ids"] if types else []),
                "attention_mask",
            ],
        }
        text = json.dumps(told, indent=1, ensure_ascii=False)
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")

    def _refusal(self, why: str) -> UsageError:
        return UsageError(
            "This model can't be a Hugging Face folder: there a class has one linear head on the "
            f"last layer, and {why}. Fit with {self.fit_with}, or use --format onnx."
        )


class _Texts(_TextFolder):
    """Texts and pairs of texts, read by the first piece or, where a class can, by their mean."""

    pipeline: ClassVar[str] = "text-classification"

    def __init__(self, encoder: "HfText", pooling: Pooling) -> None:
        """Raise `UsageError` where no head will do."""
        super().__init__(encoder, pooling)
        self.seat = self._seat()
        cls = "" if self._can_say("mean") else " --pooling cls"
        self.fit_with = f"`--method finetune{cls}` or `--method probe --layer {self.last}{cls}`"

    def refuse(self, layer: str) -> None:
        """Raise `UsageError` for what the class of this kind of model doesn't read."""
        super().refuse(layer)
        reading = self.encoder.reading
        if layer != LAST:
            told = f"its head reads the {self.model_pooling} of the pieces"
        else:
            told = f"its head reads {LAST}, here the {'+'.join(self.encoder.pooling)} of the pieces"
            told += ", through dense layers" if reading.dense else ""
            told += ", normalized" if reading.normalize else ""
        pooling = self._read(layer)
        if pooling is None or not self._can_say(pooling):
            raise self._refusal(told)
        self.pooling = pooling

    def _seat(self) -> Seat:
        if self.kind not in SEATS:
            raise UsageError(
                f"transformers' class for {self.kind} models has no plain head on the first piece, "
                f"so this model can't be a Hugging Face folder. Fit on a model of "
                f"{', '.join(SEATS)}, or use --format onnx."
            )
        if prompt := self.encoder.reading.prompt:
            raise UsageError(
                f"This model reads every text behind its makers' prompt {prompt!r}, which "
                "a pipeline would leave out; use --format onnx."
            )
        return SEATS[self.kind]

    def _read(self, layer: str) -> str | None:
        """Return how a head on a layer reads pieces, `None` for what no class does."""
        if layer != LAST:
            return self.model_pooling
        reading = self.encoder.reading
        if reading.normalize or reading.dense or self.model_pooling in ("first+last", "mean+max"):
            return None
        return "+".join(self.encoder.pooling)

    def _can_say(self, pooling: str) -> bool:
        begins = pooling != "cls" or self.encoder.tokenizer.begins
        return pooling in self.seat.pooling and begins

    def _built(self, config: Any, output: LinearOutput) -> Any:
        import transformers

        for name, value in {**self.seat.settings, **self.seat.pooling[self.pooling]}.items():
            setattr(config, name, value)
        config.problem_type = _PROBLEMS[output.kind]
        built = self._model(transformers.AutoModelForSequenceClassification, config)
        self.seat.fill(built, output)
        return built

    def says(
        self, folder: Path, raws: Sequence[Any], classes: Sequence[str]
    ) -> tuple[FloatArray, BoolArray]:
        """Return the pipeline's scores, in the order of the classes."""
        import transformers

        made: Any = transformers.pipeline("text-classification", model=str(folder), device="cpu")
        rows = []
        for raw in raws:
            given = {"text": raw[0], "text_pair": raw[1]} if isinstance(raw, tuple) else raw
            scores = {one["label"]: one["score"] for one in made(given, top_k=None)}
            rows.append([scores[name] for name in classes])
        return np.array(rows), np.ones(len(rows), np.bool_)


class _Words(_TextFolder):
    """Words of texts, by the class that decides about every piece."""

    pipeline: ClassVar[str] = "token-classification"

    def __init__(self, encoder: "HfText", pooling: Pooling) -> None:
        super().__init__(encoder, pooling)
        self.fit_with = f"`--method finetune` or `--method probe --layer {self.last}`"
        self.notes = (*self.notes, _MEAN_OF_PIECES)
        self.tried = [raw for raw in self.tried if isinstance(raw, str)]

    def _built(self, config: Any, output: LinearOutput) -> Any:
        import transformers

        seat = SEATS.get(self.kind)
        if seat is None or not seat.words:
            built = self._model(transformers.AutoModelForTokenClassification, config)
            fill_plain(built, "classifier", output)
            return built
        for name, value in seat.settings.items():
            setattr(config, name, value)
        built = self._model(transformers.AutoModelForTokenClassification, config)
        seat.fill(built, output)
        return built

    def says(
        self, folder: Path, raws: Sequence[Any], classes: Sequence[str]
    ) -> tuple[FloatArray, BoolArray]:
        """Return what the class says of words that have pieces, by the mean of their logits.

        Of words that are one piece to the pipeline the tag and its score are the pipeline's.
        """
        import transformers

        made: Any = transformers.pipeline("token-classification", model=str(folder), device="cpu")
        rows, known = [], []
        for raw in raws:
            pieces = self.encoder.tokenizer.pieces(raw)
            with torch.inference_mode():
                logits = made.model(input_ids=torch.from_numpy(pieces.ids)[None]).logits[0]
            alone = {(t["start"], t["end"]): t for t in made(raw.text, ignore_labels=[])}
            for k, place in enumerate(raw.words, start=1):
                own = logits[torch.from_numpy(pieces.words == k)]
                known.append(len(own) > 0)
                if len(own):
                    rows.append(own.mean(dim=0).softmax(dim=0).numpy())
                    if told := alone.get(tuple(place)):
                        rows[-1][classes.index(told["entity"])] = told["score"]
        return np.array(rows), np.array(known)
