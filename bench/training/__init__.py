"""Training steps, and mini-batches against full batches."""
