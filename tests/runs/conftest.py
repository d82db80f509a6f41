"""Tiny text models on disk, and what heads on them say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retarget.core.types import Kind, Pooling
from retarget.methods.crf import CrfHead
from retarget.methods.heads import LinearHead
from retarget.methods.model import Member, TransferModel
from retarget.methods.scale import BlockScale
from retarget.sources.encoder import Encoder


def _pieces() -> Any:
    """Return a tokenizer that was trained once: no two trainings give the same."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = (Path(__file__).parent / "pieces.txt").read_text(encoding="utf-8").split()
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return made


def _configuration(kind: str, rows: int) -> object:
    import transformers as t

    small = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    wide = {"vocab_size": rows, "intermediate_size": 24, "max_position_embeddings": 40}
    if kind == "distilbert":
        return t.DistilBertConfig(
            vocab_size=rows, dim=16, n_heads=2, n_layers=2, hidden_dim=24,
            max_position_embeddings=40,
        )  # fmt: skip
    if kind == "roberta":
        return t.RobertaConfig(
            **{**wide, "max_position_embeddings": 41}, type_vocab_size=1, pad_token_id=0, **small
        )
    if kind == "gpt2":
        return t.GPT2Config(vocab_size=rows, n_embd=16, n_layer=2, n_head=2, n_positions=40)
    if kind == "electra":
        return t.ElectraConfig(embedding_size=16, **wide, **small)
    if kind == "modernbert":
        return t.ModernBertConfig(
            **wide, **small, pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2,
            sep_token_id=3,
        )  # fmt: skip
    if kind == "eurobert":
        return t.EuroBertConfig(
            **wide, **small, num_key_value_heads=2, head_dim=8, pad_token_id=0, bos_token_id=2,
            eos_token_id=3, mask_token_id=4,
        )  # fmt: skip
    if kind == "mpnet":
        return t.MPNetConfig(
            **{**wide, "max_position_embeddings": 41}, **small, pad_token_id=0, bos_token_id=2,
            eos_token_id=3,
        )  # fmt: skip
    return t.BertConfig(**wide, **small)


@pytest.fixture(scope="session")
def quick(text_folder: Callable[[str, str], str]) -> dict[str, Any]:
    """Give what makes a fit on a few texts quick: a tiny model, one layer, two folds."""
    return {
        "sources": [text_folder("bert", "mean")],
        "layer": "last",
        "method": "probe",
        "baselines": ["majority"],
        "learning_curve": False,
        "folds": 2,
        "engine": "eager",
    }


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], str]:
    """Give a maker of tiny random text models: kind, pooling of `pooled` → `file:` URI."""
    import torch
    import transformers as t

    made: dict[tuple[str, str], str] = {}

    def make(kind: str, pooling: str = "") -> str:
        if (kind, pooling) in made:
            return made[kind, pooling]
        folder = tmp_path_factory.mktemp(f"{kind}-{pooling}")
        pieces = _pieces()
        torch.manual_seed(3)
        model = t.AutoModel.from_config(_configuration(kind, pieces.get_vocab_size()))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.3)
            embeddings = model.get_input_embeddings().weight
            embeddings.copy_(torch.randn_like(embeddings) * 3)
        model.save_pretrained(folder)
        pieces.save(str(folder / "tokenizer.json"))
        marks = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
        marks |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
        told = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 40, **marks}
        (folder / "tokenizer_config.json").write_text(json.dumps(told))
        if pooling:
            module = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "x.Pooling"}
            (folder / "modules.json").write_text(json.dumps([module]))
            (folder / "1_Pooling").mkdir()
            (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": pooling}))
        made[kind, pooling] = f"file:{folder}"
        return made[kind, pooling]

    return make


@pytest.fixture(scope="session")
def static_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of static vectors of pieces, as model2vec writes it."""
    import torch
    from safetensors.torch import save_file

    folder, pieces = tmp_path_factory.mktemp("static"), _pieces()
    torch.manual_seed(5)
    vectors = torch.randn(pieces.get_vocab_size(), 6)
    save_file({"embeddings": vectors}, folder / "model.safetensors")
    pieces.save(str(folder / "tokenizer.json"))
    config = {"model_type": "model2vec", "normalize": True, "hidden_dim": 6}
    (folder / "config.json").write_text(json.dumps(config))
    return f"file:{folder}"


@pytest.fixture(scope="session")
def word_vectors(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of vectors of words."""
    random = np.random.default_rng(7)
    words = ["the", "cat", "dog", "sat", ",", ".", "good", "no", "film", "joke", "Anna"]
    lines = [f"{w} {' '.join(f'{x:.4f}' for x in random.normal(size=5))}" for w in words]
    path = tmp_path_factory.mktemp("words") / "vectors.vec"
    path.write_text("11 5\n" + "\n".join(lines) + "\n")
    return f"file:{path}"


@pytest.fixture(scope="session")
def heads_on() -> Callable[..., TransferModel]:
    """Give a maker of models with random heads on some layers of encoders."""

    def make(
        kind: Kind,
        pooling: Pooling,
        encoders: list[Encoder],
        of: list[tuple[int, tuple[str, ...], str]],
        classes: tuple[str, ...] = ("bad", "good", "so-so"),
    ) -> TransferModel:
        random, members = np.random.default_rng(11), []
        k = 1 if kind == "regression" else len(classes)
        for source, layers, sort in of:
            widths = {layer.name: layer.width for layer in encoders[source].layers}
            width = sum(widths[name] for name in layers) * (2 if pooling == "mean+max" else 1)
            weight = random.normal(size=(k, width)).astype(np.float32)
            if sort == "crf":
                more = [random.normal(size=s) for s in ((k,), (k, k), (k,), (k,))]
                head = CrfHead(weight, *more)
            else:
                head = LinearHead(weight, random.normal(0, 0.1, size=k))
            scale = BlockScale(
                random.normal(0, 0.1, width).astype(np.float32),
                random.uniform(1.0, 3.0, width).astype(np.float32),
            )
            members.append(Member(layers, sort, scale, head, 1.4, source, 1.0 + len(members)))
        names = classes if kind != "regression" else ("value",)
        temperature = 1.0 if kind == "regression" else 0.8
        sources = tuple(f"made:{i}" for i in range(len(encoders)))
        return TransferModel(kind, names, tuple(members), temperature, sources, pooling)

    return make
