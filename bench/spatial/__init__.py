"""Spatial domains of tissues."""
