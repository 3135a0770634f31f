"""Predictions for new cells, and the confidence of clusters."""
