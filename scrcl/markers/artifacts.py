"""What the stage ``markers`` leaves for later stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl._contract import Artifact

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["MARKERS"]


def _load(folder: Path) -> pd.DataFrame:
    import pandas as pd

    # A gene may be called "NA" or "nan".
    return pd.read_csv(folder / "markers.csv", keep_default_na=False, dtype={"gene": str})


MARKERS: Artifact[pd.DataFrame] = Artifact("marker genes", _load)
"""Table of the first genes of each cluster; see `scrcl.markers.ranking.marker_table`."""
