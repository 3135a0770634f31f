"""Benchmarks, run by hand; CI runs them at toy size so that they cannot rot."""
