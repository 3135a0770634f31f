"""Agreement of clusters with biological batches."""
