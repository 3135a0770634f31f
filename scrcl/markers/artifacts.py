"""What the stages ``markers`` and ``names`` leave for later stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl._contract import Artifact

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from scrcl.markers.profiles import Profiles

__all__ = ["MARKERS", "NAMES", "NAMES_FILE", "PROFILES", "PROFILES_FILE"]

NAMES_FILE, PROFILES_FILE = "names.csv", "profiles.npz"


def _load(folder: Path) -> pd.DataFrame:
    import pandas as pd

    # A gene may be called "NA" or "nan".
    return pd.read_csv(folder / "markers.csv", keep_default_na=False, dtype={"gene": str})


MARKERS: Artifact[pd.DataFrame] = Artifact("marker genes", _load)
"""Table of the first genes of each cluster; see `scrcl.markers.ranking.marker_table`."""


def _load_profiles(folder: Path) -> Profiles:
    from scrcl.markers.profiles import Profiles

    return Profiles.load(folder / PROFILES_FILE)


PROFILES: Artifact[Profiles] = Artifact("profiles of the clusters", _load_profiles)
"""Mean and share of every gene in every cluster."""


def _load_names(folder: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(folder / NAMES_FILE, keep_default_na=False)


NAMES: Artifact[pd.DataFrame] = Artifact("names of the clusters", _load_names)
"""Table with a row for each cluster: its name, the two best sets of the table of markers, and their scores."""
