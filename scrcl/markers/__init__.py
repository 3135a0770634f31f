"""Marker genes of clusters: values of all genes by cluster, tests, and ranking."""
