"""The result and the report's page, from what all stages give. For runs and for predictions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._atomic import atomic_path
from scrcl._sizes import format_bytes
from scrcl._warnings import logger_of
from scrcl.engine.annotate import warn_of_replaced, without_ours
from scrcl.engine.device import versions
from scrcl.engine.disk import require_room
from scrcl.prep.artifacts import STATS
from scrcl.report.page import Page, StageUsage, render_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stage import AnnDataKeys
    from scrcl.io.matrix import CellMatrix
    from scrcl.io.slots import Kept
    from scrcl.report.maps import Maps
    from scrcl.report.page import Section
    from scrcl.typing import IntArray

__all__ = ["about_run", "keys_of_input", "write_page", "write_result_of"]

_log = logger_of(__name__)

_ENTRY_BYTES = 12
"""A value and its column, as anndata writes them in blocks."""

_HDF5_BYTES = 2_000_000
"""What many small elements take, and the report."""


def write_result_of(context: Context, keys: AnnDataKeys) -> str:
    """Write the result: annotations of the input, and the keys of the stages (`merged_keys`).

    Returns
    -------
    str
        Its file, relative to OUT.
    """
    from scrcl.io.results import write_result

    config, matrix = context.config, context.matrix
    name = f"result.{config.format}"
    stats = context.open(STATS)
    rows = np.flatnonzero(stats.retained)
    with matrix.opened_sources() as sources:
        warn_of_replaced(sources, matrix.obs, context.stages)
    obs = without_ours(matrix.obs, context.stages).iloc[rows].copy()
    for key, column in keys.obs.items():
        obs[key] = column
    var = matrix.var[_columns_of_input(matrix)].copy()
    for key, values in keys.var.items():
        var[key] = values
    x_bytes = 8 * stats.n_nonzero * (1 + len(matrix.layers)) if config.keep_x else 0
    require_room(
        context.folder.path,
        _result_bytes(context, keys) + x_bytes + _kept_bytes(context, rows),
        "the result",
    )
    write_result(
        context.folder.path / name,
        fmt=config.format,
        obs=obs,
        var=var,
        obsm=dict(keys.obsm),
        obsp=dict(keys.obsp),
        varm=dict(keys.varm),
        uns={"scrcl": about_run(context.folder.manifest, config, keys), **keys.uns_other},
        x=_x_of_input(context).x(context.budget.block_rows)[rows]
        if config.keep_x and not _copies_values(context)
        else None,
        more=partial(_keep, context, rows),
    )
    return name


def about_run(manifest: Mapping[str, Any], config: RunConfig, keys: AnnDataKeys) -> dict[str, Any]:
    """Return ``uns["scrcl"]``: what the stages put there, settings, versions, notes, and the names of the keys."""
    ours = {
        **keys.uns,
        "config": _without_none(config.model_dump(mode="json")),
        "versions": versions(),
        "seed": config.seed,
        "var_keys": list(keys.var),
        "obsm_keys": list(keys.obsm),
        "varm_keys": list(keys.varm),
        "uns_keys": list(keys.uns_other),
    }
    notes = [note for entry in manifest["stages"] for note in entry["notes"]]
    return {**ours, "notes": np.array(notes, object)}


def keys_of_input(matrix: CellMatrix, config: RunConfig) -> dict[str, set[str]]:
    """Return the keys of the input that the result keeps, by slot: obsm, varm, uns, and columns of var."""
    from scrcl.io.joined import shared_obsm
    from scrcl.io.slots import keys_of

    kept: dict[str, set[str]] = {"var": set(_columns_of_input(matrix))}
    with matrix.opened_sources() as sources:
        if matrix.identity.get("samples"):
            return {**kept, "obsm": set(shared_obsm(sources))}
        for slot in ("obsm", "uns", *(() if config.layer == "raw" else ("varm",))):
            kept[slot] = {key for source in sources for key in keys_of(source, slot)}
    return kept


def _columns_of_input(matrix: CellMatrix) -> list[str]:
    """Return the columns of var without those that an earlier run wrote."""
    from scrcl.io.slots import earlier_keys

    with matrix.opened_sources() as sources:
        ours = {key for source in sources for key in earlier_keys(source, "var")}
    return [str(column) for column in matrix.var if str(column) not in ours]


def _keep(context: Context, rows: IntArray, target: Any) -> None:
    """Copy what the input holds into the result; of several samples what all of them hold."""
    from scrcl.io.joined import copy_joined, write_other_layers
    from scrcl.io.slots import copy_slots

    matrix, config = context.matrix, context.config
    sizes = [int(sample["shape"][0]) for sample in matrix.identity.get("samples", ())]
    with matrix.opened_sources() as sources:
        if not sizes:
            for source in sources:
                copy_slots(_kept(context, rows, source), target)
        else:
            parts, first = [], 0
            for source, size in zip(sources, sizes, strict=True):
                own = rows[(rows >= first) & (rows < first + size)] - first
                parts.append(replace(_kept(context, own, source), n_obs=size))
                first += size
            copy_joined(parts, target, label=matrix.label)
    _keep_coordinates(context, rows, target.require_group("obsm"))
    if config.keep_x and not _copies_values(context):
        write_other_layers(
            matrix, rows, target, layer=config.layer, block_rows=context.budget.block_rows
        )


def _keep_coordinates(context: Context, rows: IntArray, obsm: Any) -> None:
    """Write the coordinates that the setting names to where scanpy looks for them. They are no key of the run."""
    from anndata.io import write_elem

    named = context.covariates.named_coordinates
    if named is None:
        return
    if "spatial" not in obsm:
        write_elem(obsm, "spatial", named[rows])
        return
    there = obsm["spatial"]
    is_same = getattr(there, "shape", None) == (len(rows), named.shape[1])
    if not (is_same and np.array_equal(there[...], named[rows])):
        _log.warning(
            'obsm["spatial"] of the input is kept, so the coordinates of %r are not in the result.',
            context.config.coordinates,
        )


def _kept(context: Context, rows: IntArray, source: Any) -> Kept:
    from scrcl.io.slots import Kept

    matrix, config = context.matrix, context.config
    n_vars = None if config.layer == "raw" else matrix.n_vars
    return Kept(
        source, rows, matrix.n_obs, n_vars, matrix.label, config.keep_x and _copies_values(context)
    )


def _copies_values(context: Context) -> bool:
    """Return whether X is copied as it is in the file: it is of one file, and of the genes of the result."""
    matrix = context.matrix
    in_source = len(matrix.sources) == 1 and matrix.values_in_source
    return in_source and not matrix.left_out and context.config.layer != "raw"


def _x_of_input(context: Context) -> CellMatrix:
    """Return X, also where another layer was read; that layer if X has other genes."""
    from scrcl.io.joined import x_of

    return x_of(context.matrix, context.config.layer) or context.matrix


def _kept_bytes(context: Context, rows: IntArray) -> int:
    from scrcl.io.slots import slot_bytes

    total = 0
    for open_source in context.matrix.sources:
        with open_source() as source:
            total += slot_bytes(_kept(context, rows, source))
    return total


def write_page(
    context: Context,
    run: OpenRun,
    first: Sequence[Section],
    *,
    last: Sequence[Section] = (),
    summary: Sequence[str] = (),
    maps: Maps | None = None,
) -> None:
    """Write ``report.html``: summary, maps, the sections ``first``, those of the stages from the last one on, ``last``.

    Settings are shown as the caller gives them: as options in a run of the command line.
    """
    sections = [section for stage in run.finished if (section := stage.section(run)) is not None]
    entries: list[dict[str, Any]] = context.folder.manifest["stages"]
    typed = context.reporter.typed
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
        sections=[
            replace(each, overview={}, notes=list(map(typed, each.notes)), text=typed(each.text))
            for each in (*first, *reversed(sections), *last)
        ],
        stages=[
            StageUsage(
                entry["name"],
                entry["seconds"],
                entry["peak_rss_bytes"],
                entry["bytes_read"],
                entry["cells_per_s"],
            )
            for entry in entries
            if not entry.get("left_as_is")
        ],
        config=context.config.to_toml(),
        versions=versions(),
        summary=list(map(typed, summary)),
        maps=maps,
    )
    with atomic_path(context.folder.path / "report.html") as unfinished:
        unfinished.write_text(render_page(page), encoding="utf-8", errors="replace")


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
