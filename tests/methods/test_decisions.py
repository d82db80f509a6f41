import json
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from retarget.methods.decisions import decide
from retarget.methods.settings import Training

CPU = torch.device("cpu")


def test_what_is_left_open_follows_from_the_task(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8)
    model = trainable.trainee(made)
    found = decide(Training(), made, model, CPU)
    assert (found.epochs, found.patience, found.augment) == (40, 14, 1.0)
    assert (found.lr, found.head(found.lr), found.searches) == (5e-4, 5e-3, False)
    assert not found.bf16 and not found.channels_last
    assert found == decide(Training(), replace(made, validation=~made.validation), model, CPU)
    model.encoder.attention = torch.nn.MultiheadAttention(2, 1)
    assert decide(Training(), made, model, CPU).lr == 1e-4


def test_what_is_said_is_done(trainable: ModuleType) -> None:
    made = trainable.subject(24, 8)
    how = Training(
        epochs=3, lr=0.2, head_lr=0.3, patience=1, augment=0.1, precision="bf16",
        batch_statistics=True,
    )  # fmt: skip
    found = decide(how, made, trainable.trainee(made), CPU)
    assert (found.epochs, found.lr, found.head(9.0), found.patience) == (3, 0.2, 0.3, 1)
    assert found.augment == 0.1 and found.bf16 and found.batch_statistics
    told = json.loads(json.dumps(found.told(how, 0.2, 2)))
    assert told["epochs"] == 2 and told["precision"] == "bf16" and told["head_lr"] == 0.3
    assert set(told) == set(Training.__dataclass_fields__)


@pytest.mark.parametrize("pretrained", [True, False])
def test_random_weights_learn_statistics(trainable: ModuleType, pretrained: bool) -> None:
    made = trainable.subject(24, 8, source=trainable.SmallSource(pretrained))
    found = decide(Training(), made, trainable.trainee(made), CPU)
    assert found.batch_statistics is not pretrained
