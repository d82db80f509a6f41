"""Killed at any moment, the same command ends in the same numbers."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

CODE = f"""
import json, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch, trainable
from retarget.methods import loop
from retarget.methods.callbacks import Callback
from retarget.methods.settings import Part, Training
from retarget.methods.training import train

torch.set_num_threads(1)
loop.SAVE_EVERY = 0.0

class Tells(Callback):
    def on_step_end(self, step, loss, lr):
        print(step, flush=True)
        time.sleep(0.002)

made = trainable.subject(24, 8, callbacks=(Tells(),))
model = trainable.trainee(made, trainable.Small(dropout=0.3))
how = Training(epochs=25, lr=5e-3, batch=4, augment=0.4, mixup=0.3, average=0.8, patience=30)
parts = (Part(tuple(n for n, _ in model.named_parameters() if "first" not in n)),)
print("ready", flush=True)
done = train(model, parts, made, how, key=sys.argv[1])
weights = [t.double().flatten().tolist() for t in model.state_dict().values()]
epochs = [[e.number, e.loss, e.validation_loss, e.score, e.lr] for e in done.epochs]
print(json.dumps([weights, epochs, done.taken, list(done.gap), done.outputs.tolist()]), flush=True)
"""


def started(key: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", CODE, key], stdout=subprocess.PIPE, text=True)


def result(key: str) -> tuple[int, Any]:
    """Return the first step that was taken, and what came out."""
    told, _ = started(key).communicate(timeout=300)
    lines = told.splitlines()
    return int(lines[1]), json.loads(lines[-1])


@pytest.mark.slow
def test_killed_at_random_moments_ends_in_the_same_numbers() -> None:
    chance = random.Random(8)
    for steps in (1, 2):  # what is told of the second comes after the first was saved
        process = started("killed")
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        for _ in range(steps):
            process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.35))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    first, found = result("killed")
    beginning, expected = result("undisturbed")
    assert first > beginning == 1
    assert found == expected
