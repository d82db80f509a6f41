"""`SentenceTransformer.encode()` on its ONNX backend, as its documentation has it.

Reads a JSON file with `texts`, the `encoder` as a folder that it may write its graph to, and how
often to `repeat`; prints the least seconds of an encoding, and the vectors, as JSON. Loading and
exporting are not counted. It uses nothing of Retarget, and needs the package optimum-onnx.

    python benchmarks/encode_peer.py ASKED.json
"""

import json
import sys
import time
from pathlib import Path

from sentence_transformers import SentenceTransformer


def main() -> None:
    """Do it and print what came out."""
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model = SentenceTransformer(asked["encoder"], device="cpu", backend="onnx")
    model.encode(asked["texts"][:32])
    seconds = []
    for _ in range(asked["repeat"]):
        start = time.perf_counter()
        vectors = model.encode(asked["texts"])
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": min(seconds), "vectors": vectors.tolist()}))


if __name__ == "__main__":
    main()
