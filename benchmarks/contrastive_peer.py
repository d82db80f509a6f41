"""Few-shot tuning by the `setfit` package, as its documentation has it: one epoch, batches of 16.

Reads a JSON file with `texts` and `labels` to learn from, `judging` and `truth` to judge by, the
`encoder` as a folder, and a `seed`; prints the accuracy and the CPU seconds of loading the encoder,
training, head included, and writing the model, as JSON. It uses nothing of Retarget.

    python benchmarks/contrastive_peer.py DRAW.json
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments


def main() -> None:
    """Do it and print what came out."""
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    began = time.process_time()
    model = SetFitModel.from_pretrained(asked["encoder"])
    data = Dataset.from_dict({"text": asked["texts"], "label": asked["labels"]})
    with tempfile.TemporaryDirectory() as folder:
        how = TrainingArguments(
            output_dir=folder, num_epochs=1, batch_size=16, seed=asked["seed"], save_strategy="no"
        )
        Trainer(model=model, args=how, train_dataset=data).train()
        model.save_pretrained(f"{folder}/model")
        seconds = time.process_time() - began
    found = np.asarray(model.predict(asked["judging"]))
    accuracy = float((found == np.asarray(asked["truth"])).mean())
    print(json.dumps({"accuracy": accuracy, "seconds": seconds}))


if __name__ == "__main__":
    main()
