"""How what a source knows is put to use: one file a method."""

from retarget.methods import crf, finetune, heads, knn, lora, probe, prototype, scratch

__all__ = ["crf", "finetune", "heads", "knn", "lora", "probe", "prototype", "scratch"]
