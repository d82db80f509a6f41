"""How what a source knows is put to use: one file a method."""

from retarget.methods import heads, knn, probe, prototype

__all__ = ["heads", "knn", "probe", "prototype"]
