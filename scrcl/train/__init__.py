"""Mini-batches to weights: the general trainer, and the methods, a package each."""
