"""scRCL (arXiv 2512.10640) as a method."""
