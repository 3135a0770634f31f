"""Whole runs at several sizes, and runs that are killed and resumed."""
