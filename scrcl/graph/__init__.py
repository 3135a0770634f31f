"""From rows to neighbours: nearest neighbour search, graphs, smoothing over graphs, and neighbourhood sampling."""
