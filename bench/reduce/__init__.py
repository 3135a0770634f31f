"""From a store to principal component scores: time, memory and scanpy."""
