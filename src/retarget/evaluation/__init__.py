"""Who may judge what, and what was measured, with intervals that hold."""
