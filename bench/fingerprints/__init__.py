"""Fingerprints of runs: whether a change of the code changed a result."""
