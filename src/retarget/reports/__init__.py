"""What a person looks at: HTML, terminal and plots, drawn from a record and never recomputed."""
