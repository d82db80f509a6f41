"""The target task: what a user needs, read from what a user has."""
