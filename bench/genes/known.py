"""Known markers of the types of labelled sets: which types of a table of markers a label stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TYPES", "known_markers"]

TYPES: dict[str, dict[str, tuple[str, ...]]] = {
    "pbmc_facs_zheng_fasttopics": {
        "CD19+ B": ("B cell",),
        "CD34+": (
            "hematopoietic stem cell",
            "hematopoietic multipotent progenitor cell",
            "hematopoietic precursor cell",
        ),
        "CD56+ NK": ("natural killer cell",),
        "CD14+ Monocyte": ("monocyte", "CD14-positive monocyte", "classical monocyte"),
        "CD8+ Cytotoxic T": (
            "CD8-positive, alpha-beta cytotoxic T cell",
            "CD8-positive, alpha-beta T cell",
        ),
        "CD4+ T Helper2": ("helper T cell", "CD4-positive, alpha-beta T cell"),
        "CD4+/CD45RO+ Memory": ("CD4-positive, alpha-beta memory T cell",),
        "CD8+/CD45RA+ Naive Cytotoxic": ("naive thymus-derived CD8-positive, alpha-beta T cell",),
        "CD4+/CD25 T Reg": ("regulatory T cell",),
        "CD4+/CD45RA+/CD25- Naive T": ("naive thymus-derived CD4-positive, alpha-beta T cell",),
    },
    "breast_wu_CID4465": {
        "CAFs": ("fibroblast", "CAFs"),
        "PVL": ("pericyte", "smooth muscle cell"),
        "Endothelial": ("endothelial cell", "Endothelial cells"),
        "Myeloid": ("macrophage", "monocyte", "Macrophages"),
        "T-cells": ("T cell", "T-cells"),
        "B-cells": ("B cell", "B-cells"),
        "Plasmablasts": ("plasma cell", "plasmablast"),
        "Cancer Epithelial": ("ER+", "HER+", "TNBC"),
    },
}
"""By name of a set: the types of the table for each label. Labels without an entry are not scored."""


def known_markers(path: Path, name: str) -> dict[str, set[str]]:
    """Return the positive human markers of each label of a set, from a table with species and sign."""
    import pandas as pd

    table = pd.read_csv(path, keep_default_na=False)
    table = table[(table["species"] == "human") & (table["sign"] == "positive")]
    return {
        label: set(table["gene"][table["cell_type"].isin(types)])
        for label, types in TYPES[name].items()
    }
