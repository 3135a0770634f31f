"""Mini-batches: speed, composition, and the effect of both on losses and clusters."""
