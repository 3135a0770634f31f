"""The effect of each part of the default settings on the agreement with labels."""
