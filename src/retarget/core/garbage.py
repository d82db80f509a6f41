"""How a program of ours deals with garbage in cycles."""

import atexit
import gc

OBJECTS = 20_000  # Python's own 700 are for small programs; more than these save nothing more


def collect_rarely() -> None:
    """Look for garbage after more new objects than Python does, and not at the very end.

    Importing PyTorch and timm makes a million objects that stay. Looking through them all the while
    takes a quarter of the import, and looking through them once more at exit a second. For
    processes that are ours alone; a library leaves this to its user.
    """
    gc.set_threshold(OBJECTS)
    atexit.register(gc.freeze)
