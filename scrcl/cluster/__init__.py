"""From points to clusters, their tree and confidence; knows nothing of the engine."""
