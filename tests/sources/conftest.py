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
