"""How what a source knows is put to use: one file a method.

Those that register a method are imported here. Others of this room import PyTorch.
"""

from retarget.methods import (
    contrastive,
    crf,
    finetune,
    heads,
    knn,
    lora,
    probe,
    prototype,
    scratch,
)

__all__ = [
    "contrastive", "crf", "finetune", "heads", "knn", "lora", "probe", "prototype", "scratch",
]  # fmt: skip
