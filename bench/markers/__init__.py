"""Markers against other implementations."""
