"""The report of large runs in a browser."""
