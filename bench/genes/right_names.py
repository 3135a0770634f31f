"""Names that are right for the labels of sets, as patterns of the names of a table.

The finest level that cells of these labels support: sorted T cells of all kinds are T cells.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["NAMED", "Named", "is_named"]


class Named(NamedTuple):
    """A set whose types the table has: its species and tissue, and patterns of names by label.

    Labels without an entry have no right name.
    """

    species: str
    tissues: str
    right: dict[str, str]
    coarse: dict[str, str]


_B = r"\bB cell|^B-cells$"
_T = r"T cell|^T-cells$|alpha-beta"
_NK = "natural killer cell|NK cells"
_MONOCYTE = r"monocytes?$"
_MYELOID = "myeloid cell|mononuclear phagocyte"
_LYMPHOCYTE = "lymphocyte|leukocyte"
_ISLET = "endocrine cell"
_STELLATE = "stellate|fibroblast"

NAMED: dict[str, Named] = {
    "breast_wu_CID4465": Named(
        "human",
        "Breast,Tumour microenvironment",
        {
            "CAFs": "CAFs|fibroblast",
            "PVL": "pericyte|perivascular|smooth muscle",
            "Endothelial": "ndothelial",
            "Myeloid": f"acrophage|monocyte|dendritic|^DC$|neutrophil|{_MYELOID}",
            "T-cells": _T,
            "B-cells": _B,
            "Plasmablasts": "plasma cell|plasmablast",
            "Cancer Epithelial": r"^(TNBC|HER\+|ER\+)$",
        },
        {"T-cells": _LYMPHOCYTE, "B-cells": _LYMPHOCYTE, "Plasmablasts": _LYMPHOCYTE},
    ),
    "pbmc_facs_zheng_fasttopics": Named(
        "human",
        "Blood",
        {
            "CD19+ B": _B,
            "CD34+": "stem|progenitor|precursor",
            "CD56+ NK": _NK,
            "CD14+ Monocyte": _MONOCYTE,
            "CD8+ Cytotoxic T": _T, "CD4+ T Helper2": _T, "CD4+/CD45RO+ Memory": _T, "CD4+/CD25 T Reg": _T,
            "CD8+/CD45RA+ Naive Cytotoxic": _T, "CD4+/CD45RA+/CD25- Naive T": _T,
        },
        {"CD14+ Monocyte": _MYELOID},
    ),
    "kang_pbmc_5donors": Named(
        "human",
        "Blood",
        {"B cells": _B, "CD14+ Monocytes": _MONOCYTE, "CD4 T cells": _T, "NK cells": _NK},
        {"CD14+ Monocytes": _MYELOID},
    ),
    "muscat_example_2donors": Named(
        "human",
        "Blood",
        {
            "B cells": _B, "CD14+ Monocytes": _MONOCYTE, "FCGR3A+ Monocytes": _MONOCYTE, "CD4 T cells": _T,
            "CD8 T cells": _T,
        },
        {"CD14+ Monocytes": _MYELOID, "FCGR3A+ Monocytes": _MYELOID},
    ),
    "baron_mouse_pancreas": Named(
        "mouse",
        "Pancreas",
        {
            "beta": "type B pancreatic", "alpha": "pancreatic A", "delta": "pancreatic D", "gamma": "PP cell",
            "ductal": "duct", "endothelial": "ndothelial", "quiescent_stellate": _STELLATE,
            "activated_stellate": _STELLATE, "macrophage": "acrophage", "B_cell": _B, "T_cell": _T,
            "schwann": "Schwann", "immune_other": f"granulocyte|mast|dendritic|{_NK}|{_LYMPHOCYTE}",
        },
        {"ductal": "epithelial cell", "macrophage": _MYELOID},
    ),
    "cider_pancreas_350": Named(
        "human",
        "Pancreas",
        {
            "beta": "type B pancreatic", "alpha": "pancreatic A", "delta": "pancreatic D", "macrophage": "acrophage",
            "activated_stellate": _STELLATE,
        },
        {"beta": _ISLET, "alpha": _ISLET, "delta": _ISLET, "macrophage": _MYELOID},
    ),
    "endocrinogenesis_739": Named(
        "mouse",
        "Pancreas",
        {
            "Beta": "type B pancreatic", "Alpha": "pancreatic A", "Delta": "pancreatic D", "Ductal": "duct",
            "Ngn3 high EP": "progenitor cell of endocrine", "Ngn3 low EP": "progenitor cell of endocrine",
            "Pre-endocrine": "progenitor cell of endocrine",
        },
        {"Ductal": "epithelial cell"},
    ),
    "tms_liver_468": Named(
        "mouse",
        "Liver",
        {
            "endothelial cell of hepatic sinusoid": "ndothelial", "hepatocyte": "hepatocyte", "B cell": _B,
            "T cell": _T,
            "myeloid leukocyte": f"acrophage|{_MONOCYTE}|dendritic|neutrophil|granulocyte|Kupffer|{_MYELOID}",
        },
        {},
    ),
}  # fmt: skip
"""By name of a set."""


def is_named(name: str, label: str, patterns: dict[str, str]) -> bool:
    """Return whether a name is one of those for a label."""
    return label in patterns and re.search(patterns[label], name) is not None
