"""Every example through every encoder once, all layers, kept."""
