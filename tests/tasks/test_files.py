import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np

from retarget.tasks.files import Files, as_text, taken

NAMES = ["a.png", "b/c d.png", os.fsdecode(b"\xff.png")]


def test_files_are_the_paths_that_a_list_would_hold() -> None:
    files = Files("/data", NAMES)
    paths = [Path("/data") / name for name in NAMES]
    assert list(files) == paths
    assert len(files) == 3
    assert files[-1] == files[np.int64(2)] == paths[2]
    assert list(files[1:]) == paths[1:]
    assert list(taken(files, np.array([2, 0]))) == [paths[2], paths[0]]
    assert taken(paths, [1]) == [paths[1]]
    assert as_text(files) == as_text(paths) == [str(path) for path in paths]
    assert list(pickle.loads(pickle.dumps(files))) == paths
    assert list(Files("", ["/x/y"])) == [Path("/x/y")]


def kept_beside(names: list[str]) -> int:
    """How many bytes files keep that were looked at one after the other."""
    tracemalloc.start()
    files = Files("/data", names)
    for path in files:
        assert path.suffix == ".png"
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return kept


def test_files_take_little_memory_beside_their_names() -> None:
    names = [f"class/{i:06}.png" for i in range(20_000)]
    # The interpreter's own table of names is made anew now and then: not in each measurement.
    assert min(kept_beside(names) for _ in range(4)) < 100_000
