"""Your own network as a source: say how pictures enter it and which layers come out.

An entry point of the group `retarget.sources`, in a package of yours, that names the module in
which this stands makes `own:net` known to the command line too.

Run: python examples/own_encoder.py photos/       (photos/CLASS/*.jpg)
"""

import sys
from pathlib import Path

import torch
from PIL import Image
from sklearn.model_selection import cross_val_score
from torch import Tensor, nn

from retarget.core.errors import SourceError
from retarget.core.hashing import hash_json
from retarget.estimators import TransferClassifier
from retarget.sources.encoder import Encoder, Layer
from retarget.sources.recipe import Recipe
from retarget.sources.registry import register
from retarget.sources.source import Facts, Source

half = (0.5, 0.5, 0.5)
recipe = Recipe((64, 64), "cover", to=(64, 64), interpolation="bilinear", mean=half, std=half)


class OwnEncoder(Encoder):
    layers = (Layer("edges", 16), Layer("shapes", 32))
    detail = recipe.detail
    input_shape = (3, 64, 64)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)  # yours: self.load_state_dict(torch.load(path, weights_only=True))
        self.edges = nn.Sequential(nn.Conv2d(3, 16, 5, stride=2), nn.ReLU())
        self.shapes = nn.Sequential(nn.Conv2d(16, 32, 5, stride=2), nn.ReLU())

    def prepare(self, raw: Image.Image) -> Tensor:
        return torch.from_numpy(recipe.apply(raw))

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        edges = self.edges(batch)
        shapes = self.shapes(edges)
        maps = {"edges": edges, "shapes": shapes}
        return {name: m.flatten(2).transpose(1, 2) for name, m in maps.items()}  # (b, places, d)


class OwnSource(Source):
    uri = "own:net"
    facts = Facts("image", "My network", trained_on="nothing yet")
    fingerprint = hash_json(["own:net", 1])  # count up whenever the weights change

    def load(self) -> Encoder:
        return OwnEncoder().eval()

    def random(self, seed: int = 0) -> Source:
        raise SourceError("own:net has no random version.")

    def describe(self) -> dict[str, str]:
        return {"uri": self.uri}

    def save(self, folder: Path) -> None:
        raise SourceError("own:net can't be stored without its code.")


@register("own")
def own(name: str) -> Source:
    return OwnSource()


pictures = sorted(path for path in Path(sys.argv[1]).glob("*/*") if path.is_file())
labels = [path.parent.name for path in pictures]
model = TransferClassifier(source="own:net", layer="all")
right = cross_val_score(model, pictures, labels, cv=3).mean()
print(f"own:net: {right:.1%} of {len(pictures)} right in 3 folds")
