"""Columns of obs that the input has now: in a notebook many are made or made again after the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.engine.annotate import without_ours
from scrcl.engine.arguments import shown
from scrcl.engine.stages import STAGES
from scrcl.errors import InputError
from scrcl.io.annotations import with_unique_names
from scrcl.io.results import read_obs

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scrcl.engine.open_run import OpenRun

__all__ = ["obs_of_run"]


def obs_of_run(run: OpenRun, data: AnnData | None = None) -> pd.DataFrame:
    """Return obs of the result, with the columns that ``data`` has now in place of those that the run copied.

    Clusters, names and what else a run writes are always those of the run.

    Parameters
    ----------
    data
        The AnnData of the run. Cells are matched by name.

    Raises
    ------
    InputError
        It is no AnnData, or has none of the cells.
    """
    obs = read_obs(run.result_path, whole=True)
    if data is None:
        return obs
    import anndata

    if not isinstance(data, anndata.AnnData):
        message = f"data must be the AnnData that the run was made of; got {shown(data)}."
        raise InputError(message)
    now = with_unique_names(without_ours(data.obs, STAGES), kind="cell", label="AnnData object")
    if not now.index.isin(obs.index).any():
        message = (
            f"data must hold the cells of {run.path}, which has {obs.index[0]} ...; got an AnnData that has "
            f"{', '.join(now.index[:1])} ..., and no cell with the same name."
        )
        raise InputError(message)
    return obs.drop(columns=obs.columns.intersection(now.columns)).join(now)
