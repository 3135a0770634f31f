"""Ids and symbols in names of genes, and names that join a symbol and an id, or a genome and a symbol.

Tables from R have ``CD3D_ENSG00000167286`` where a symbol was not unique, or for all genes; matrices of mixed species
have ``GRCh38_CD3D``. Tables of marker genes have ``CD3D``.
"""

from __future__ import annotations

import re

__all__ = ["id_in", "is_id", "symbol_in", "without_version"]

_ENSEMBL = r"ENS[A-Z]*G\d{6,}"
_OTHERS = r"FBgn\d+|WBGene\d+"
"""Ids of FlyBase and WormBase."""
_VERSION = r"(?:\.\d+)?"

_ID = re.compile(rf"({_ENSEMBL}|{_OTHERS}){_VERSION}")
_SYMBOL_FIRST = re.compile(rf"(.+?)[_|:.\-]{_ENSEMBL}{_VERSION}")
# ENSG00000182378.15_PAR_Y is an id: of a gene on the Y chromosome that is on the X chromosome, too.
_ID_FIRST = re.compile(rf"{_ENSEMBL}{_VERSION}[_|:\-](?!PAR_Y$)(.+)")
_ANY_ID = re.compile(rf"(?:.*[_|:.\-])?({_ENSEMBL}|{_OTHERS}){_VERSION}(_PAR_Y)?(?:[_|:.\-].*)?")
_GENOME_FIRST = re.compile(r"(?:GRCh3[78]|GRCm3[89]|hg19|hg38|mm10|mm39)[_|:\-]+(.+)")


def is_id(name: str) -> bool:
    """Return whether a name is an id of Ensembl, FlyBase or WormBase, with its version or without.

    >>> is_id("ENSMUSG00000032094.9"), is_id("FBgn0000003"), is_id("CD3D"), is_id("CD3D_ENSG00000167286")
    (True, True, False, False)
    """
    return _ID.fullmatch(name) is not None


def without_version(name: str) -> str:
    """Return an id without its version; any other name as it is.

    >>> without_version("ENSG00000167286.9"), without_version("AC012345.1")
    ('ENSG00000167286', 'AC012345.1')
    """
    found = _ID.fullmatch(name)
    return name if found is None else found[1]


def symbol_in(name: str) -> str:
    """Return the symbol inside the name of a gene; the name itself if it joins nothing.

    >>> symbol_in("HLA-DRA_ENSG00000204287"), symbol_in("ENSG00000167286.9_CD3D"), symbol_in("GRCh38_CD3D")
    ('HLA-DRA', 'CD3D', 'CD3D')
    >>> symbol_in("ENSG00000167286"), symbol_in("NKX2-1")
    ('ENSG00000167286', 'NKX2-1')
    """
    for pattern in (_SYMBOL_FIRST, _ID_FIRST, _GENOME_FIRST):
        if found := pattern.fullmatch(name):
            return found[1]
    return name


def id_in(name: str) -> str:
    """Return the id of Ensembl, FlyBase or WormBase in the name of a gene, without its version; empty if there is none.

    >>> id_in("ENSG00000167286.9"), id_in("CD3D_ENSG00000167286"), id_in("ENSG00000182378.15_PAR_Y")
    ('ENSG00000167286', 'ENSG00000167286', 'ENSG00000182378_PAR_Y')
    >>> id_in("CD3D")
    ''
    """
    found = _ANY_ID.fullmatch(name)
    return "" if found is None else found[1] + (found[2] or "")
