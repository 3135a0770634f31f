"""Graphs of genes."""
