"""Simulated atlases of any size with known cell types, drawn in ranges of rows.

Cell types come from an invented tree (`tree_atlas`) or from real cells (`template_atlas`). The package is not called
``simulate``, because `scrcl.simulate` is the function that writes such an atlas to a file.
"""

from scrcl.simulation.atlas import SimulatedAtlas, template_atlas, tree_atlas

__all__ = ["SimulatedAtlas", "template_atlas", "tree_atlas"]
