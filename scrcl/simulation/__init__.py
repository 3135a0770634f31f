"""Labelled atlases of any size, drawn by rows: of a tree of invented types, or of real ones."""

from scrcl.simulation.atlas import SimulatedAtlas, template_atlas, tree_atlas

__all__ = ["SimulatedAtlas", "template_atlas", "tree_atlas"]
