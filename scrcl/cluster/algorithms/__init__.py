"""The clustering algorithms, one file each."""
