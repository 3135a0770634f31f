"""Neighbour graphs of cells: search methods and the order of cells."""
