"""Batches to weights: the model, its linear-time losses, the loop, checkpoints and inference."""
