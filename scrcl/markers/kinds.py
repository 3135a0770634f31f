"""Genes that rarely mark a type of cells, by their symbols: mitochondrial, ribosomal and housekeeping genes.

Such genes differ with the depth, the stress and the growth of cells of any type. Tables of genes flag them, and keep
them: they can be true markers, as ribosomal genes are of resting lymphocytes.

The rule, for symbols of human and mouse, without regard to case:

- ``mitochondrial``: the symbol begins with ``MT-``.
- ``ribosomal``: a protein of the cytosolic ribosome: ``RPL`` or ``RPS`` and a number, ``RPLP0`` to ``RPLP2``,
  ``RPSA``, with the ending of a copy (``RPL22L1``, ``RPS4X``); and ``FAU`` and ``UBA52``, which are joined to one.
  Kinases of ribosomal proteins (``RPS6KA1``) and mitochondrial ribosomal proteins (``MRPL1``) are none.
- ``housekeeping``: a known housekeeping gene.

References
----------
Eisenberg, Levanon: Human housekeeping genes, revisited. Trends in Genetics 2013 (its eleven reference genes are among
them). The others are usual reference genes, chosen by hand.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["gene_kinds"]

_NAMES = """
C1ORF43 CHMP2A EMC7 GPI PSMB2 PSMB4 RAB7A REEP5 SNRPD3 VCP VPS29 EEF1A1 EEF1B2 EEF1D EEF1G EEF2 EIF1 EIF1AX
EIF3E EIF3F EIF3H EIF3K EIF3L EIF4A1 EIF4A2 EIF4B EIF4G2 EIF5A NACA BTF3 TPT1 NPM1 NCL PABPC1 GNB2L1 RACK1 UBB
UBC PPIA PPIB HSPA8 HSP90AA1 HSP90AB1 CALR PSMA7 PSMB1 SERF2 ACTB ACTG1 TUBA1A TUBA1B TUBB PFN1 CFL1 MYL6 MYL12A
MYL12B TMSB4X TMSB10 GAPDH PGK1 PGAM1 ENO1 LDHA LDHB TPI1 ALDOA PKM HPRT1 TBP GUSB PGD SDHA YWHAZ YWHAB B2M FTH1
FTL COX4I1 COX5B COX6A1 COX6B1 COX6C COX7A2 COX7C COX8A ATP5F1B ATP5B ATP5F1E ATP5E ATP5MC2 ATP5G2 UQCRB UQCRH
NDUFA4 NDUFB2 SLC25A3 SLC25A5 SLC25A6 HNRNPA1 HNRNPA2B1 HNRNPC HNRNPK SRSF3 SRSF5 SRP14 H3F3A H3-3A H3F3B H3-3B
HMGB1 HMGN1 MALAT1 NEAT1
"""

_HOUSEKEEPING = frozenset(_NAMES.split())
"""Symbols of human genes, and of mouse genes without regard to case: reference genes, translation, folding and removal
of proteins, the skeleton of the cell, glycolysis, respiration, splicing and chromatin."""

_RIBOSOMAL = re.compile(r"RP[LS]\d+[AXY]?(?:L?\d?)|RPLP[0-2]|RPSA2?|FAU|UBA52")


def gene_kinds(symbols: Iterable[str]) -> NDArray[np.object_]:
    """Return the kind of each gene: ``mitochondrial``, ``ribosomal``, ``housekeeping`` or an empty text.

    Parameters
    ----------
    symbols
        Names of the genes. Ensembl ids, and symbols of other species, have no kind.

    Returns
    -------
    ndarray of str objects, shape (n_genes,)
    """
    return np.array([_kind(symbol.upper()) for symbol in symbols], dtype=object)


def _kind(symbol: str) -> str:
    if symbol.startswith("MT-"):
        return "mitochondrial"
    if _RIBOSOMAL.fullmatch(symbol):
        return "ribosomal"
    return "housekeeping" if symbol in _HOUSEKEEPING else ""
