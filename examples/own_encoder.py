"""Your own network with your own weights as a source: a function that returns it is enough.

Keep it in a module of yours that can be imported, so that a saved model can be opened again; the
command line knows `own:net` too once an entry point of the group `retarget.sources` names it.

Run: python examples/own_encoder.py photos/       (photos/CLASS/*.jpg)
"""

import sys

from torch import nn

import retarget as rt


@rt.own_source("net", size=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), title="My network")
def net() -> nn.Module:
    # Yours: model = …; model.load_state_dict(torch.load(path, weights_only=True)); return model
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 16, 5, stride=2), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Sequential(nn.Conv2d(16, 32, 5, stride=2), nn.BatchNorm2d(32), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


if __name__ == "__main__":
    run = rt.fit(sys.argv[1], sources=["own:net"])
    print("own:net", run)
