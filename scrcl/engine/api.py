"""`fit` and `predict`: a run, and new cells beside one, from Python, on an AnnData or on files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrcl.engine.load_config import load_config
from scrcl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scrcl._interrupt import Interruption
    from scrcl._progress import Reporter
    from scrcl.engine.config import RunConfig

__all__ = ["fit", "predict"]


def fit(
    data: AnnData | str | Path | Sequence[str | Path],
    n_clusters: int | str | None = None,
    *,
    out: str | Path | None = None,
    config: RunConfig | None = None,
    reporter: Reporter | None = None,
    restart: bool = False,
    start: str | None = None,
    client: Any = None,
    interruption: Interruption | None = None,
    **settings: Any,
) -> AnnData:
    """Embed and cluster cells; returns an AnnData with the keys of a run.

    Parameters
    ----------
    data
        An AnnData, in memory or backed: the keys are written into it, as ``scanpy.tl`` does, and it
        is returned; its X is not touched. Or a path (or several, taken as samples): the result of the
        run is returned, without X unless ``keep_x=True``; the files are not touched.
    n_clusters
        A number, or ``"auto"`` (the default).
    out
        Folder that keeps the run (stages, report, ``run.json``) and from which it resumes; without
        one a temporary folder is used and removed.
    config
        Settings to start from.
    start
        ``"cluster"`` or ``"report"``: make that stage of the run in ``out`` anew, and those after it, with other
        settings of theirs, as ``n_clusters``; what was trained is kept.
    client
        A ``distributed.Client`` whose workers read the input; they must see its files and ``out``.
    interruption
        A `scrcl.Interruption`: its ``ask()``, from any thread, stops the run at the next step or
        stage with `KeyboardInterrupt`; given the same ``out``, the same call goes on. Signals are
        left alone, unless it is made by ``with scrcl.Interruption.on_signals()``.
    **settings
        Fields of `RunConfig`, for example ``seed=1``, ``memory="8GB"``, ``train={"steps": 100}``.

    Returns
    -------
    AnnData
        With ``obs["scrcl"]`` (of ``cluster.also`` ``obs["scrcl_k8"]`` and so on; of refined domains
        ``obs["scrcl_unrefined"]``), ``obs["scrcl_confidence"]`` (0 to 1), ``obsm["X_scrcl"]``, ``obsm["X_pca"]``,
        ``obsp["scrcl_connectivities"]``, ``obsp["scrcl_distances"]`` and ``uns["scrcl"]``. Cells
        without counts have no cluster, no neighbours, and NaN in ``obsm``.

    Raises
    ------
    ScrclError
        Bad input or settings; the message says what and what to do.

    Examples
    --------
    >>> import scanpy as sc, scrcl  # doctest: +SKIP
    >>> adata = scrcl.fit(sc.datasets.pbmc3k(), n_clusters=8)  # doctest: +SKIP
    >>> adata = adata[adata.obs["scrcl"].notna()].copy()  # doctest: +SKIP
    >>> sc.tl.umap(adata, neighbors_key="scrcl")  # doctest: +SKIP
    """
    if n_clusters is not None:
        settings["n_clusters"] = n_clusters
    base = config.model_dump(exclude_unset=True) if config is not None else {}
    resolved = load_config(overrides=_merged(base, settings))
    how = {
        "reporter": reporter,
        "restart": restart,
        "start": start,
        "client": client,
        "interruption": interruption,
    }
    if out is not None:
        return _fit_in(data, Path(out), resolved, how)
    with tempfile.TemporaryDirectory(prefix="scrcl-") as folder:
        return _fit_in(data, Path(folder) / "out", resolved, how)


def _fit_in(data: Any, out: Path, config: RunConfig, how: dict[str, Any]) -> AnnData:
    import anndata

    from scrcl.engine.run import run_files, run_matrix
    from scrcl.engine.stages import STAGES

    if isinstance(data, anndata.AnnData):
        from scrcl.engine.annotate import write_into
        from scrcl.io.open import from_anndata

        matrix = from_anndata(data, layer=config.layer)
        done = run_matrix(lambda _: matrix, out, config, **how)
        result = _read(done.result_path)
        write_into(data, result, matrix.obs.index.isin(result.obs_names), STAGES)
        return data
    return _read(run_files(_paths(data), out, config, **how).result_path)


def predict(
    run: str | Path,
    data: AnnData | str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    restart: bool = False,
    **settings: Any,
) -> AnnData:
    """Lay new cells beside a finished run: embedding, cluster and confidence of each.

    Parameters
    ----------
    run
        Output folder of a finished run; it is read only.
    data
        The new cells, as in `fit`: keys are written into an AnnData, and it is returned; of files, the
        result of the prediction is returned.
    out
        Folder that keeps the prediction (result, report, ``run.json``), apart from ``run``; without one a
        temporary folder is used and removed.
    **settings
        ``memory``, ``device``, ``layer`` (that of the run where not given; ``"X"`` for X), ``join``,
        ``format``, ``keep_x``.

    Returns
    -------
    AnnData
        With ``obs["scrcl"]`` (the run's categories), ``obs["scrcl_confidence"]`` (0 to 1; see
        `scrcl.engine.predict.assign`) and its two parts ``obs["scrcl_margin"]`` and
        ``obs["scrcl_familiarity"]``, ``obsm["X_scrcl"]``, ``obsm["X_pca"]``, ``uns["scrcl_colors"]`` and
        ``uns["scrcl"]``. Cells without counts in the run's genes have no cluster, and NaN.

    Raises
    ------
    ScrclError
        The run is not finished, or of a kind that new cells cannot be laid beside; the cells have other
        genes or values of another kind; there is too little memory.

    Examples
    --------
    >>> import scrcl  # doctest: +SKIP
    >>> new = scrcl.predict("out/", "new.h5ad")  # doctest: +SKIP
    """
    how = {"reporter": reporter, "restart": restart}
    if out is not None:
        return _predict_in(Path(run), data, Path(out), how, settings)
    with tempfile.TemporaryDirectory(prefix="scrcl-") as folder:
        return _predict_in(Path(run), data, Path(folder) / "out", how, settings)


def _predict_in(
    run: Path, data: Any, out: Path, how: dict[str, Any], settings: dict[str, Any]
) -> AnnData:
    import anndata

    from scrcl.engine.predict import (
        new_cell_stages,
        predict_files,
        predict_matrix,
        run_for_prediction,
    )

    opened = run_for_prediction(run, settings)
    if not isinstance(data, anndata.AnnData):
        return _read(predict_files(opened, _paths(data), out, **how).result_path)
    from scrcl.engine.annotate import write_into
    from scrcl.io.open import from_anndata

    matrix = from_anndata(data, layer=opened.config.layer)
    result = _read(predict_matrix(opened, lambda _: matrix, out, **how).result_path)
    retained = matrix.obs.index.isin(result.obs_names)
    write_into(data, result, retained, new_cell_stages(opened))
    return data


def _paths(data: Any) -> list[Path]:
    try:
        paths = [Path(data)] if isinstance(data, str | Path) else [Path(each) for each in data]
    except TypeError:
        message = f"data must be an AnnData, a path or several paths; got {type(data).__name__}."
        raise InputError(message) from None
    if not paths:
        message = "data must name at least one file; got none."
        raise InputError(message)
    return paths


def _read(path: Path | None) -> AnnData:
    import anndata

    assert path is not None, "the run has its last stage"
    return anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)


def _merged(base: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Lay ``settings`` over ``base``, group by group."""
    merged = dict(base)
    for key, value in settings.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both else value
    return merged
