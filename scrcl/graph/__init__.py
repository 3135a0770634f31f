"""Rows to neighbours: projection, nearest neighbours, graphs, propagation and halo sampling."""
