"""The commands as Python functions: `fit`, `predict`, `plan` and `rename`.

Others, such as `scrcl.convert`, are in modules of their names.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrcl._progress import Logged
from scrcl._warnings import warned_once
from scrcl.engine.arguments import checked
from scrcl.engine.load_config import load_config, merged
from scrcl.engine.paths import input_paths
from scrcl.engine.rename import keep_given
from scrcl.engine.rename import rename as rename_clusters
from scrcl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

    from scrcl._interrupt import Interruption
    from scrcl._progress import Reporter
    from scrcl.engine.config import RunConfig
    from scrcl.engine.paths import Inputs
    from scrcl.engine.plan import Plan
    from scrcl.engine.rename import Names

__all__ = ["fit", "plan", "predict", "rename"]


@checked
@warned_once()
def fit(
    data: AnnData | str | Path | Sequence[str | Path],
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
    """Embed and cluster cells; returns an AnnData with the results of a run.

    Parameters
    ----------
    data
        An AnnData, in memory or backed: results are written into it, as ``scanpy.tl`` does, and it
        is returned; its X does not change. Or a path, or several, which are samples: the result of the
        run is returned, without X unless ``keep_x=True``; the files do not change.
    out
        Folder that keeps the run (stages, report, ``run.json``). The same call resumes a run in it. By default a
        temporary folder is used and removed.
    config
        Settings to start from; ``settings`` win over them.
    reporter
        Receives the progress and the notes. By default notes are logged as warnings of the logger ``scrcl``, and the
        progress at the level INFO: ``logging.basicConfig(level="INFO")`` shows it, also in a notebook.
    restart
        Delete the run in ``out`` and start over.
    start
        ``"umap"``, ``"doublets"``, ``"cluster"``, ``"markers"``, ``"names"``, ``"subclusters"``, ``"pseudotime"`` or
        ``"report"``: redo this stage of the run in ``out``, and later stages, with new settings such as
        ``n_clusters``. The trained model is kept, and settings that are not given stay as they were in the run.
    client
        A ``distributed.Client`` whose workers read the input; they must see its files and ``out``.
    interruption
        A `scrcl.Interruption`. Its ``ask()``, from any thread, stops the run after the current step or
        stage with `KeyboardInterrupt`; the same call with the same ``out`` resumes it. Signal handlers do
        not change, except inside ``with scrcl.Interruption.on_signals()``.
    **settings
        Fields of `RunConfig`, for example ``n_clusters=8`` (a number or ``"auto"``), ``seed=1``, ``memory="8GB"``,
        ``train={"steps": 100}``, ``names={"table": "markers.csv"}``. ``scrcl settings`` lists all: ``train.steps`` is
        ``steps`` in ``train``.

    Returns
    -------
    AnnData
        With ``obs["scrcl"]`` (the clusters), ``obs["scrcl_coarse"]`` and ``obs["scrcl_fine"]`` (fewer and more of
        them), ``obs["scrcl_confidence"]`` (0 to 1), ``obsm["X_scrcl"]``, ``obsm["X_pca"]``, ``obsm["X_umap"]``,
        ``obsp["scrcl_connectivities"]``, ``obsp["scrcl_distances"]``, ``uns["scrcl"]``, and for scanpy's plots
        ``uns["rank_genes_groups"]`` (marker genes) and ``uns["paga"]``; also ``obs["scrcl_k8"]`` and so on for
        ``cluster.also``, ``obs["scrcl_name"]`` if clusters are named, and ``obs["scrcl_unrefined"]`` if labels were
        smoothed.
        Cells without counts have no cluster, no neighbours, and NaN in ``obsm``.

    Raises
    ------
    ScrclError
        Bad input or settings; the message names the fault and a remedy.

    Examples
    --------
    >>> import scanpy as sc, scrcl  # doctest: +SKIP
    >>> adata = scrcl.fit(sc.datasets.pbmc3k(), n_clusters=8)  # doctest: +SKIP
    >>> adata = adata[adata.obs["scrcl"].notna()].copy()  # doctest: +SKIP
    >>> sc.pl.umap(adata, color="scrcl")  # doctest: +SKIP
    """
    import anndata

    from scrcl.engine.anndata_input import fit_anndata, read_result
    from scrcl.engine.run import run_files

    resolved = _resolved(config, settings)
    if start is not None and out is None:
        message = f"start must go with out, the folder of the run to redo; got {start!r} without it. Name that folder."
        raise InputError(message)
    how: dict[str, Any] = {
        "reporter": reporter or Logged(),
        "restart": restart,
        "start": start,
        "client": client,
        "interruption": interruption,
    }
    with _folder(out) as folder:
        if isinstance(data, anndata.AnnData):
            return fit_anndata(data, folder, resolved, **how)
        return read_result(
            run_files(input_paths(data, argument="data"), folder, resolved, **how).result_path
        )


@checked
@warned_once()
def predict(
    run: str | Path,
    data: AnnData | str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    restart: bool = False,
    **settings: Any,
) -> AnnData:
    """Predict embedding, cluster and confidence of new cells from a finished run.

    Parameters
    ----------
    run
        Output folder of a finished run; it does not change.
    data
        The new cells, as in `fit`: results are written into an AnnData, which is returned; for files, the
        result of the prediction is returned.
    out
        Folder that keeps the prediction (result, report, ``run.json``), outside ``run``. By default a
        temporary folder is used and removed.
    reporter
        Receives the progress.
    restart
        Delete the prediction in ``out`` and start over.
    **settings
        ``memory``, ``device``, ``layer`` (by default that of the run; ``"X"`` for X), ``join``,
        ``format``, ``keep_x``.

    Returns
    -------
    AnnData
        With ``obs["scrcl"]`` (the clusters of the run), ``obs["scrcl_confidence"]`` (0 to 1; see
        `scrcl.cluster.assign`), its two parts ``obs["scrcl_margin"]`` and
        ``obs["scrcl_familiarity"]``, ``obsm["X_scrcl"]``, ``obsm["X_pca"]``, ``obsm["X_umap"]`` (the plane of
        the run), ``uns["scrcl_colors"]`` and ``uns["scrcl"]``. Cells without counts in the run's genes have no
        cluster, and NaN.

    Raises
    ------
    ScrclError
        The run is not finished, or does not allow predictions; the cells have other genes or another kind
        of values; there is too little memory.

    Examples
    --------
    >>> import scrcl  # doctest: +SKIP
    >>> new = scrcl.predict("out/", "new.h5ad")  # doctest: +SKIP
    """
    import anndata

    from scrcl.engine.anndata_input import predict_anndata, read_result
    from scrcl.engine.predict import predict_files, run_for_prediction

    opened = run_for_prediction(run, settings)
    how: dict[str, Any] = {"reporter": reporter or Logged(), "restart": restart}
    with _folder(out) as folder:
        if isinstance(data, anndata.AnnData):
            return predict_anndata(opened, data, folder, **how)
        return read_result(
            predict_files(opened, input_paths(data, argument="data"), folder, **how).result_path
        )


@checked
@warned_once()
def rename(out: str | Path, names: Names, *, data: Any = None) -> AnnData:
    """Give names to clusters of a finished run, as ``obs["scrcl_name"]``.

    Names stay when stages are redone. A cluster that is found again keeps its name.

    Parameters
    ----------
    out
        Output folder of the run; its result and report are written again.
    names
        Mapping of clusters to names, or a CSV file with the columns ``cluster`` and ``name``. A cluster is meant by its
        number or by the name that it has; several may have one name. A subcluster is meant as ``3_0``; its name is in
        ``obs["scrcl_sub_name"]``. Clusters that are not in it keep their names. An empty name takes the given name
        away.
    data
        The input of the run, as in `fit`. By default the files where they were.

    Returns
    -------
    AnnData
        As `fit` returns it.

    Raises
    ------
    ScrclError
        The names name a cluster that does not exist, the folder holds no finished run, or the input is gone.

    Examples
    --------
    >>> import scrcl  # doctest: +SKIP
    >>> scrcl.rename("out/", {3: "NK cell", 5: "B cell"}).obs["scrcl_name"]  # doctest: +SKIP
    >>> scrcl.rename("out/", "names.csv").obs["scrcl_name"]  # doctest: +SKIP
    """
    import anndata

    from scrcl.engine.anndata_input import read_result

    if isinstance(data, anndata.AnnData):
        with keep_given(out, names):
            return fit(data, out=out, start="names")
    inputs = () if data is None else input_paths(data, argument="data")
    return read_result(rename_clusters(out, names, inputs=inputs, reporter=Logged()).result_path)


@checked
def plan(
    inputs: Inputs,
    *,
    config: RunConfig | None = None,
    until: str | None = None,
    **settings: Any,
) -> Plan:
    """Estimate memory, disk, bytes read and time of a run, stage by stage.

    Only the header of the input is read, and the annotations of cells that settings name.

    Parameters
    ----------
    inputs
        A path, or several, which are samples.
    config
        Settings to start from; ``settings`` win over them.
    until
        Last stage; by default all stages.
    **settings
        Fields of `RunConfig`, as for `fit`.

    Returns
    -------
    Plan
        A refusal is in ``refusal`` if the memory is too small.

    Raises
    ------
    ScrclError
        The run would be refused for another reason.

    Examples
    --------
    >>> import scrcl  # doctest: +SKIP
    >>> scrcl.plan("cells.h5ad", memory="2GB").least_bytes  # doctest: +SKIP
    """
    from scrcl.engine.plan import plan_run

    return plan_run(input_paths(inputs), _resolved(config, settings), until=until)


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    """Yield the output folder; without one, a temporary folder that is removed."""
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(prefix="scrcl-") as folder:
        yield Path(folder) / "out"


def _resolved(config: RunConfig | None, settings: dict[str, Any]) -> RunConfig:
    base = config.model_dump(exclude_unset=True) if config is not None else {}
    return load_config(overrides=merged(base, settings))
