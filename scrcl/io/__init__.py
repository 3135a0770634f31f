"""Disk to rows: open an input lazily, stream its rows once, keep what is needed, write results."""
