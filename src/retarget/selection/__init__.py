"""Which source, which layers, which method: chosen on choosing data alone."""
