"""The run directory: what was asked, what was found, and the model."""
