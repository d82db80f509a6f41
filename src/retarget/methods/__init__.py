"""How what a source knows is put to use: one file a method."""
