"""Mini-batches against full batches, and the stopping rule."""
