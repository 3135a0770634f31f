"""Columns of obs that hold batches or conditions, as far as their names and values show it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scrcl.io.labels import CellLabels

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "batch_like_columns",
    "condition_like_columns",
    "confounded_levels",
    "names_slices",
    "type_like_columns",
]

_BATCH_WORDS = re.compile(
    "animal|assay|batch|center|channel|chemistry|chip|dataset|donor|experiment|flowcell|individual|lab|lane|library|"
    "mouse|orig|patient|plate|platform|project|protocol|rep|replicate|run|sample|sampleid|section|sequencer|site|slice|"
    "slide|specimen|study|subject|suspension|tech|technology|well"
)
_SLICE_WORDS = re.compile(
    "animal|batch|dataset|donor|individual|library|mouse|orig|patient|rep|replicate|sample|sampleid|section|slice|"
    "slide|specimen|subject"
)
"""Those of the words for batches that name what has a tissue of its own. Files that anndata joins are batches."""
_CONDITION_WORDS = re.compile(
    "condition|diagnosis|disease|dose|drug|genotype|group|infection|perturbation|phenotype|status|stim|stimulation|"
    "timepoint|treatment"
)
_UNCERTAIN_WORDS = re.compile("group|phenotype")
"""Names of conditions that columns of cell types have, too: groups of simulated cells, phenotypes of images."""
_TYPE_WORDS = re.compile(
    "annotation|annotations|annot|celltype|celltypes|class|cluster|clusters|domain|domains|label|labels|layer|layers|"
    "leiden|louvain|ontology|region|regions|subclass|subtype"
)
"""A name with one of these holds cell types or domains, as ``celltype_orig`` does. To correct for them would join what
should stay apart."""
_NAME_WORDS = re.compile("label|labels")
"""After a word for batches, these say that names stand there, as in ``section_label``."""
_KIND_WORDS = re.compile(
    r"cells?|\w+cytes?|\w*blasts?|\w*phages?|\w*neurons?|glia|\w+glia|progenitors?|endothel\w+|epithel\w+|stroma\w*"
)
"""A value with one of these is a cell type, as ``CD4 T cells`` is."""
_LEAST_CELLS = 10
"""Mean number of cells of a batch below which a column holds something else, such as a clone."""

_FEW_LEVELS, _FIRST_CELLS = 5, 10_000
"""Levels of a column that may hold conditions, though its name does not say so; cells that are looked at first."""


def batch_like_columns(obs: pd.DataFrame, *, first: str | None = None) -> dict[str, CellLabels]:
    """Return the columns whose names and values look like donors, samples, chemistries or studies.

    Columns that divide the cells in the same way count once, under the first name. The column ``first`` comes first.
    """
    names = sorted(map(str, obs.columns), key=lambda name: name != first)
    return _divisions(obs, filter(_names_batches, names))


def condition_like_columns(obs: pd.DataFrame) -> dict[str, CellLabels]:
    """Return the columns whose names and values look like conditions, such as treatments or diseases."""
    names = (
        name
        for name in map(str, obs.columns)
        if _has_word(name, _CONDITION_WORDS)
        and not _names_types(name)
        and not (_has_word(name, _UNCERTAIN_WORDS) or _has_word(name, _BATCH_WORDS))
        and not _has_types(obs[name])
    )
    return _divisions(obs, names)


def _divisions(obs: pd.DataFrame, names: Iterable[str]) -> dict[str, CellLabels]:
    """Return those of some columns that divide the cells into large parts, each in a way of its own."""
    found: dict[str, CellLabels] = {}
    seen: set[bytes] = set()
    for name in names:
        labels = _labels_of(obs[name])
        if labels is None or not 2 <= len(labels.names) <= len(obs) / _LEAST_CELLS:
            continue
        division = pd.factorize(labels.codes)[0].tobytes()
        if division not in seen:
            seen.add(division)
            found[name] = labels
    return found


def type_like_columns(obs: pd.DataFrame, columns: Iterable[str]) -> tuple[str, ...]:
    """Return those of some columns whose names, or most of whose values, look like cell types or domains."""
    return tuple(
        name
        for name in columns
        if (_names_types(name) and not _has_word(name, _BATCH_WORDS)) or _has_types(obs[name])
    )


def confounded_levels(
    obs: pd.DataFrame, batches: CellLabels, *, but: Iterable[str], any_name: bool = False
) -> dict[str, list[str]]:
    """Return the conditions that coincide with a batch: each has one batch alone, which has no other condition.

    By its name, a column holds conditions, batches, cell types or none of these. With ``any_name``, the last kind
    counts, too (``sex``), if its few levels divide the cells exactly as the batches do.

    Parameters
    ----------
    obs
        The retained cells.
    batches
        Batch of each of them; or group of batches.
    but
        Columns that are left out, as they name the batches.

    Returns
    -------
    dict
        For each column that holds conditions, those of its levels; columns without any are left out.
    """
    left_out, found = set(but), {}
    for name in map(str, obs.columns):
        is_known = _has_word(name, _CONDITION_WORDS)
        if name in left_out or not (is_known or (any_name and _may_be_condition(obs, name))):
            continue
        levels = _labels_of(obs[name])
        if levels is None or len(levels.names) < 2:
            continue
        shape = (len(levels.names), len(batches.names))
        pairs = np.zeros(shape, bool)
        pairs[levels.codes, batches.codes] = True
        only_batch, of_one = pairs.argmax(axis=1), pairs.sum(axis=1) == 1
        alone = of_one & (pairs.sum(axis=0) == 1)[only_batch]
        exact = alone.all() and len(levels.names) <= _FEW_LEVELS
        if alone.any() if is_known else exact and set(levels.names) != set(batches.names):
            found[name] = [levels.names[level] for level in np.flatnonzero(alone)]
    return found


def _may_be_condition(obs: pd.DataFrame, name: str) -> bool:
    """Return whether a column has few levels, and no name of batches or of cell types."""
    if _has_word(name, _BATCH_WORDS) or _names_types(name):
        return False
    # The first cells show most columns of many values, and reading all would take long.
    return 0 < obs[name].iloc[:_FIRST_CELLS].nunique() <= _FEW_LEVELS


def _names_batches(name: str) -> bool:
    """Return whether a column holds batches, by its name: a word for them, and none for cell types or domains."""
    own = [part for part in _parts(name) if not _NAME_WORDS.fullmatch(part)]
    return _has_word(name, _BATCH_WORDS) and not _names_types(" ".join(own))


def names_slices(name: str) -> bool:
    """Return whether a column of batches holds what has a tissue of its own, by its name: a slice, a donor."""
    return _has_word(name, _SLICE_WORDS)


def _names_types(name: str) -> bool:
    """Return whether a column holds cell types or domains, by its name."""
    return _has_word(name, _TYPE_WORDS) or "cell type" in " ".join(_parts(name))


def _has_types(column: pd.Series) -> bool:
    """Return whether most values of a column are cell types."""
    labels = _labels_of(column)
    kinds = [] if labels is None else [_has_word(name, _KIND_WORDS) for name in labels.names]
    return sum(kinds) > len(kinds) / 2


def _has_word(name: str, words: re.Pattern[str]) -> bool:
    """Return whether a part of a name is among the words."""
    return any(words.fullmatch(part) for part in _parts(name))


def _parts(name: str) -> list[str]:
    """Return the parts of a name; those of ``donorID_2`` are donor, id and 2."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return re.findall(r"[a-z]+|\d+", spaced.lower())


def _labels_of(column: pd.Series) -> CellLabels | None:
    """Return the levels of a column of text, categories, flags or whole numbers; None for others, or with gaps."""
    if column.dtype.kind in "fcmM" or column.isna().any():
        return None
    return CellLabels.of_column(column)
