"""What the stages ``markers`` and ``names`` leave for later stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl._contract import Artifact, loaded_by

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from scrcl.markers.profiles import Profiles

__all__ = [
    "MARKERS",
    "NAMES",
    "NAMES_FILE",
    "NAME_GENES",
    "NAME_GENES_FILE",
    "PROFILES",
    "PROFILES_FILE",
]

NAMES_FILE, NAME_GENES_FILE, PROFILES_FILE = "names.csv", "name_genes.csv", "profiles.npz"


def _load_genes(path: Path) -> pd.DataFrame:
    import pandas as pd

    # A gene may be called "NA" or "nan". The numbers are written again, with the names of clusters: to the bit.
    return pd.read_csv(
        path,
        keep_default_na=False,
        dtype={"gene": str, "symbol": str},
        float_precision="round_trip",
    )


MARKERS: Artifact[pd.DataFrame] = Artifact(
    "marker genes", lambda folder: _load_genes(folder / "markers.csv")
)
"""Table of the first genes of each cluster; see `scrcl.markers.ranking.marker_table`."""


PROFILES: Artifact[Profiles] = Artifact(
    "profiles of the clusters", loaded_by("scrcl.markers.profiles:Profiles.load", PROFILES_FILE)
)
"""Mean and share of every gene in every cluster."""


def _load_names(folder: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(folder / NAMES_FILE, keep_default_na=False)


NAMES: Artifact[pd.DataFrame] = Artifact("names of the clusters", _load_names)
"""Table with a row for each cluster: its name, the two best sets of the table of markers, and their scores."""

NAME_GENES: Artifact[pd.DataFrame] = Artifact(
    "genes that speak for the names", lambda folder: _load_genes(folder / NAME_GENES_FILE)
)
"""For each cluster that a table of markers names, the genes of that type, those that add most to its score first."""
