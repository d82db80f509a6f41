"""Small random models on disk, as timm, Hugging Face and the hub's cache lay them out."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from retarget.sources.own import own_source

TIMM = {
    "cnn": ("resnet10t", {}, 64),
    "vit": ("test_vit", {"img_size": 64}, 64),
    "hybrid": ("vit_tiny_r_s16_p8_224", {"depth": 3, "embed_dim": 48, "img_size": 64}, 64),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 64, "window_size": 4, "embed_dim": 24, "depths": [1, 1, 2, 1]},
        64,
    ),
    "convnext": ("test_convnext", {}, 64),
}


@own_source("contract-net", size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.4, 0.3), trained_on="x")
def contract_net() -> object:
    """A user's module: no feature info, a parameter of its own, a map as its output."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.rand(8, 1, 1))
            self.body = nn.Sequential(
                nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
                nn.Sequential(nn.Conv2d(8, 12, 3, 2), nn.BatchNorm2d(12), nn.ReLU(inplace=True)),
                nn.Conv2d(12, 6, 1),
            )

        def forward(self, x):
            return nn.functional.gelu(self.body[2](self.body[1](self.scale * self.body[0](x))))

    return Net()


@dataclass(frozen=True)
class Case:
    """A source for the contract, and its library's own preprocessing of a picture."""

    uri: str
    preprocess: object


def save_timm(folder: Path, name: str, arguments: dict, side: int, seed: int = 0) -> object:
    """Write a random timm model as timm's hub folders are; return the model."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    model = timm.create_model(name, pretrained=False, num_classes=7, **arguments)
    config = {
        "architecture": name,
        "num_classes": 7,
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [3, side, side],
            "interpolation": "bilinear",
            "crop_pct": 0.9,
            "mean": [0.4, 0.5, 0.6],
            "std": [0.2, 0.3, 0.4],
            "license": "mit",
        },
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "model.safetensors")
    model.pretrained_cfg.update(config["pretrained_cfg"])
    return model


def save_hf(folder: Path, kind: str) -> None:
    """Write a tiny random Hugging Face model with its image processor."""
    import torch
    import transformers as t

    torch.manual_seed(1)
    if kind == "vit":
        config = t.ViTConfig(
            hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
            image_size=32, patch_size=8,
        )  # fmt: skip
        model = t.ViTForImageClassification(config)
        processor = t.ViTImageProcessor(size={"height": 32, "width": 32})
    elif kind == "dinov2":
        config = t.Dinov2Config(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
        )
        model = t.Dinov2Model(config)
        processor = t.BitImageProcessor(
            size={"shortest_edge": 64}, crop_size={"height": 56, "width": 56}
        )
    else:
        config = t.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
        model = t.ConvNextModel(config)
        processor = t.ConvNextImageProcessor(size={"shortest_edge": 64})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def as_hub_cache(cache: Path, repository: str, folder: Path) -> None:
    """Lay a folder out as the hub's cache does: links to blobs under a snapshot."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot, blobs = root / "snapshots" / "abc123", root / "blobs"
    for made in (snapshot, blobs, root / "refs"):
        made.mkdir(parents=True)
    (root / "refs" / "main").write_text("abc123")
    for i, path in enumerate(sorted(folder.iterdir())):
        path.rename(blobs / str(i))
        (snapshot / path.name).symlink_to(Path("..") / ".." / "blobs" / str(i))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small random models by their names, and `hub`, a hub's cache."""
    root = tmp_path_factory.mktemp("models")
    for name, (architecture, arguments, side) in TIMM.items():
        save_timm(root / name, architecture, arguments, side)
    for kind in ("vit", "dinov2", "convnext"):
        save_hf(root / f"hf-{kind}", kind)
    save_timm(root / "hub-timm", "test_vit.r160_in1k", {}, 160)
    as_hub_cache(root / "hub", "timm/test_vit.r160_in1k", root / "hub-timm")
    save_hf(root / "hub-hf", "vit")
    as_hub_cache(root / "hub", "someone/tiny-vit", root / "hub-hf")
    return root


@pytest.fixture
def picture():
    """A picture of odd size with structure at every scale."""
    from PIL import Image

    random = np.random.default_rng(3)
    rows, columns = np.mgrid[:171, :233]
    noise = random.integers(0, 60, (171, 233, 3))
    waves = 90 + 60 * np.sin(rows / 9)[..., None] + 50 * np.cos(columns / 17)[..., None]
    return Image.fromarray(np.clip(waves + noise, 0, 255).astype(np.uint8))


SENTENCES = (
    "The cat sat on the mat, and the dog barked loudly at it.",
    "An émigré from Zürich (aged 42) wrote 3 long letters to his sister's friend.",
    "中国 has many cities; naïve people don't know them all!",
    "Good morning, world. It is a fine day to test tokenizers & models.",
)


def word_pieces() -> object:
    """A lowercasing WordPiece tokenizer of the kind of BERT's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(
        SENTENCES, trainers.WordPieceTrainer(vocab_size=160, special_tokens=special)
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return made


def byte_pairs(*, marks: bool, prefix: bool = False) -> object:
    """A byte-level BPE tokenizer: of the kind of RoBERTa's with `marks`, else of GPT-2's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    special = ["<s>", "<pad>", "</s>"] if marks else ["<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator([*SENTENCES, "a).b a). x). (b)."] * 3, trainer)
    made.post_processor = (
        processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=prefix)
        if marks
        else processors.ByteLevel(trim_offsets=False)
    )
    return made


def save_text(folder: Path, kind: str, pooling: dict | None = None, places: int = 40) -> None:
    """Write a tiny random text model as a Hugging Face folder, with sentence-transformers' files
    where it has a `pooling`."""
    import torch
    import transformers as t

    torch.manual_seed(2)
    small = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    pieces = (
        word_pieces()
        if kind in ("bert", "distilbert", "t5")
        else byte_pairs(marks=kind == "roberta")
    )
    rows = pieces.get_vocab_size()
    if kind == "bert":
        config = t.BertConfig(
            vocab_size=rows, intermediate_size=24, max_position_embeddings=places, **small
        )
        model = t.BertForMaskedLM(config)
    elif kind == "roberta":
        config = t.RobertaConfig(
            vocab_size=rows, intermediate_size=24, max_position_embeddings=places + 2,
            type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2, **small,
        )  # fmt: skip
        model = t.RobertaModel(config)
    elif kind == "distilbert":
        config = t.DistilBertConfig(
            vocab_size=rows, dim=16, n_heads=2, n_layers=2, hidden_dim=24,
            max_position_embeddings=places,
        )  # fmt: skip
        model = t.DistilBertModel(config)
    elif kind == "t5":
        config = t.T5Config(
            vocab_size=rows, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2,
            decoder_start_token_id=0,
        )  # fmt: skip
        model = t.T5Model(config)
    else:
        config = t.GPT2Config(
            vocab_size=rows, n_embd=16, n_layer=2, n_head=2, n_positions=places,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        model = t.GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    pieces.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": places}
    marks = (
        {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        if kind in ("bert", "distilbert", "t5")
        else {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
        if kind == "roberta"
        else {"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({**told, **marks}))
    if pooling is not None:
        _sentence_files(folder, pooling)


def _sentence_files(folder: Path, pooling: dict) -> None:
    normalize = pooling.pop("normalize", False)
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{k}" if i else "",
            "type": f"sentence_transformers.models.{k}",
        }
        for i, k in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    told = {"word_embedding_dimension": 16, **pooling}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(told))
    if normalize:
        (folder / "2_Normalize").mkdir()


def save_static(folder: Path) -> None:
    """Write a small folder as model2vec does, with weights and a mapping."""
    import torch
    from safetensors.torch import save_file

    pieces = word_pieces()
    rows = pieces.get_vocab_size()
    generator = torch.Generator().manual_seed(5)
    tensors = {
        "embeddings": torch.randn(rows - 20, 6, generator=generator),
        "mapping": torch.randint(rows - 20, (rows,), generator=generator),
        "weights": torch.rand(rows, generator=generator).double(),
    }
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    pieces.save(str(folder / "tokenizer.json"))
    config = {"model_type": "model2vec", "normalize": True, "hidden_dim": 6}
    (folder / "config.json").write_text(json.dumps(config))


def save_vectors(path: Path) -> None:
    """Write vectors of words as fastText does, a bad line among them."""
    random = np.random.default_rng(7)
    words = ["the", "cat", "dog", "sat", ",", ".", "Paris", "paris", "morning", "world", "good"]
    lines = [f"{w} {' '.join(f'{x:.4f}' for x in random.normal(size=5))}" for w in words]
    path.write_text("11 5\n" + "\n".join([*lines[:4], "bad 1.0 2.0", *lines[4:]]) + "\n")


POOLINGS = {
    "bert": {"pooling_mode_mean_tokens": True, "normalize": True},
    "roberta": {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True},
    "distilbert": {"pooling_mode": "weightedmean"},
    "gpt2": {"pooling_mode_lasttoken": True, "pooling_mode_mean_sqrt_len_tokens": True},
}


@pytest.fixture(scope="session")
def text_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small random text models by their names, and `hub`, a hub's cache."""
    root = tmp_path_factory.mktemp("text-models")
    for kind, pooling in POOLINGS.items():
        save_text(root / kind, kind, dict(pooling))
    save_text(root / "plain-gpt2", "gpt2")
    save_text(root / "t5", "t5")
    save_static(root / "static")
    save_vectors(root / "vectors.vec")
    lines = (root / "vectors.vec").read_text().splitlines(keepends=True)
    (root / "glove.txt").write_text("".join(lines[1:]))  # GloVe begins without numbers
    save_text(root / "hub-bert", "bert")
    as_hub_cache(root / "hub", "someone/tiny-bert", root / "hub-bert")
    return root
