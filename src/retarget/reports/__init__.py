"""What a person looks at, drawn from a run and never recomputed."""
