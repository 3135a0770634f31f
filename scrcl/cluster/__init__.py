"""From points to clusters, their tree and confidence. Does not depend on the engine."""
