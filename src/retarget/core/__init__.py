"""What every room needs and nothing that a room is about."""
