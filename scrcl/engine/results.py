"""The result and the report's page, from what all stages give. For runs and for predictions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._atomic import atomic_path
from scrcl._sizes import format_bytes
from scrcl.engine.annotate import merged_keys, without_ours
from scrcl.engine.device import versions
from scrcl.engine.disk import require_room
from scrcl.prep.artifacts import STATS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stage import AnnDataKeys
    from scrcl.report.page import Section

__all__ = ["write_page", "write_result_of"]

_ENTRY_BYTES = 12
"""A value and its column, as anndata writes them in blocks."""

_HDF5_BYTES = 2_000_000
"""What many small elements take, and the report."""


def write_result_of(context: Context, run: OpenRun, more: AnnDataKeys) -> str:
    """Write the result: annotations of the input, and the keys of all finished stages and ``more``.

    Returns
    -------
    str
        Its file, relative to OUT.
    """
    from scrcl.io.results import write_result

    config, matrix = context.config, context.matrix
    name = f"result.{config.format}"
    stats, keys = context.open(STATS), merged_keys(run, run.finished)
    rows = np.flatnonzero(stats.retained)
    obs = without_ours(matrix.obs, context.stages).iloc[rows].copy()
    for key, column in keys.obs.items():
        obs[key] = column
    var: pd.DataFrame = matrix.var.copy()
    for key, values in keys.var.items():
        var[key] = values
    obsm = dict(keys.obsm)
    if "spatial" in matrix.obsm:
        obsm["spatial"] = np.asarray(matrix.obsm["spatial"])[rows]
    x_bytes = 8 * stats.n_nonzero if config.keep_x else 0
    require_room(context.folder.path, _result_bytes(context, keys) + x_bytes, "the result")
    ours = {
        **keys.uns,
        **more.uns,
        "config": _without_none(config.model_dump(mode="json")),
        "versions": versions(),
        "seed": config.seed,
        "obsm_keys": list(keys.obsm),
    }
    if notes := [note for entry in context.folder.manifest["stages"] for note in entry["notes"]]:
        ours["notes"] = notes
    write_result(
        context.folder.path / name,
        fmt=config.format,
        obs=obs,
        var=var,
        obsm=obsm,
        obsp=dict(keys.obsp),
        uns={"scrcl": ours, **keys.uns_other},
        x=matrix.x(context.budget.block_rows)[rows] if config.keep_x else None,
    )
    return name


def write_page(context: Context, run: OpenRun, first: Sequence[Section]) -> None:
    """Write ``report.html``: the sections ``first``, then those of the finished stages, the last one's first."""
    from scrcl.report.page import Page, StageUsage, render_page

    sections = [section for stage in run.finished if (section := stage.section(run)) is not None]
    entries: list[dict[str, Any]] = context.folder.manifest["stages"]
    facts = {
        name: value for section in (*first, *sections) for name, value in section.overview.items()
    }
    facts |= {
        "memory given": format_bytes(context.config.memory),
        "peak memory before the report": format_bytes(
            max(entry["peak_rss_bytes"] for entry in entries)
        ),
        "seed": str(context.config.seed),
    }
    page = Page(
        title=f"scrcl: {context.matrix.label}",
        facts=facts,
        # The overview has the order of the stages; below it the results come first.
        sections=[replace(each, overview={}) for each in (*first, *reversed(sections))],
        stages=[
            StageUsage(
                entry["name"],
                entry["seconds"],
                entry["peak_rss_bytes"],
                entry["bytes_read"],
                entry["cells_per_s"],
            )
            for entry in entries
        ],
        config=context.config.to_toml(),
        versions=versions(),
    )
    with atomic_path(context.folder.path / "report.html") as partial:
        partial.write_text(render_page(page), encoding="utf-8", errors="replace")


def _result_bytes(context: Context, keys: AnnDataKeys) -> int:
    """Return the bytes of the large arrays: HDF5 cannot even close its file on a full disk."""
    matrix = context.matrix
    pairs = _ENTRY_BYTES * keys.n_pairs + 8 * len(keys.obsp) * matrix.n_obs
    embeddings = sum(int(array.nbytes) for array in keys.obsm.values())
    tables = (100 + 5 * len(keys.obs)) * matrix.n_obs + 100 * matrix.n_vars
    return pairs + embeddings + tables + _HDF5_BYTES


def _without_none(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if value is not None
    }
