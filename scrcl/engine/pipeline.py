"""The program: the list of stages, and what happens around it.

Everything that can be checked from the header of the input is checked before the output folder is
touched. Then each stage runs, or is found finished.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrcl import __version__
from scrcl._atomic import atomic_path
from scrcl._progress import Silent
from scrcl.cluster.settings import ClusterConfig
from scrcl.engine import learn, neighbours, prepare
from scrcl.engine.budget import plan_budget
from scrcl.engine.check import check_input
from scrcl.engine.covariates import read_named
from scrcl.engine.device import resolve_device, versions
from scrcl.engine.finish import build_report
from scrcl.engine.needs import TREE_BYTES
from scrcl.engine.run_folder import Again, RunFolder, fingerprint_of, keep_apart, read_manifest
from scrcl.engine.shape import Shape
from scrcl.engine.stage import Run, Stage, run_stage
from scrcl.errors import InputError
from scrcl.graph.names import BACKENDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from scrcl._interrupt import Interruption
    from scrcl._progress import Reporter
    from scrcl.engine.config import RunConfig
    from scrcl.engine.covariates import Named
    from scrcl.io.matrix import CellMatrix
    from scrcl.train.ranks import Ranks

__all__ = [
    "STAGES",
    "RunResult",
    "index_bytes",
    "introduce",
    "run_matrix",
    "run_pipeline",
    "shape_of",
    "stages_until",
    "summarise",
]

_OF_CLUSTERS = tuple(f"cluster.{name}" for name in ClusterConfig.model_fields if name != "on")
"""All but what is clustered, which the stage ``embed`` writes."""

_ADVICE = " Where clusters or report alone differ, --from cluster keeps what was trained."

STAGES = (
    Stage("read", prepare.read),
    Stage("stats", prepare.compute_stats),
    Stage("features", prepare.select_features),
    Stage("reduce", prepare.reduce),
    Stage("graph", neighbours.build_graph),
    Stage("genes", neighbours.build_genes),
    Stage("train", learn.train_model),
    Stage("embed", learn.embed_cells),
    Stage("cluster", learn.cluster_cells, reads=("n_clusters", *_OF_CLUSTERS)),
    Stage("report", build_report, reads=("report", "format", "keep_x")),
)


@dataclass(frozen=True)
class RunResult:
    """Where a run left its results, and the records of its stages.

    A run that was asked to end before its last stage has no result, report or clusters yet; on ranks
    that only train there are not even records.
    """

    out: Path
    stages: list[dict[str, Any]]
    result_path: Path | None
    report_path: Path | None
    clusters: list[dict[str, Any]]


def run_pipeline(
    inputs: Sequence[Path],
    out: Path,
    config: RunConfig,
    *,
    reporter: Reporter | None = None,
    restart: bool = False,
    start: str | None = None,
    until: str | None = None,
    client: Any = None,
    ranks: Ranks | None = None,
    interruption: Interruption | None = None,
    stages: Sequence[Stage] = STAGES,
) -> RunResult:
    """Cluster the cells of files; see `run_matrix`."""
    from scrcl.io.open import open_input

    def open_matrix(scratch: Path | None) -> CellMatrix:
        return open_input(inputs, layer=config.layer, join=config.join, scratch=scratch)

    return run_matrix(
        open_matrix,
        out,
        config,
        reporter=reporter,
        restart=restart,
        start=start,
        until=until,
        client=client,
        ranks=ranks,
        interruption=interruption,
        stages=stages,
    )


def run_matrix(
    open_matrix: Callable[[Path | None], CellMatrix],
    out: Path,
    config: RunConfig,
    *,
    reporter: Reporter | None = None,
    restart: bool = False,
    start: str | None = None,
    until: str | None = None,
    client: Any = None,
    ranks: Ranks | None = None,
    interruption: Interruption | None = None,
    stages: Sequence[Stage] = STAGES,
) -> RunResult:
    """Run every stage that is not finished yet in ``out``.

    Parameters
    ----------
    open_matrix
        Opens the input; given a folder, a layout that cannot be streamed by rows is rewritten in it.
    out
        Output folder; a run of the same input and settings that was interrupted there is resumed.
    reporter
        Receives progress; nothing is said where None.
    restart
        Start over where ``out`` holds a run.
    start
        Name of a stage, ``cluster`` or ``report``: of a run in ``out`` that stage and those after it are made anew,
        with other settings of theirs where these are given.
    until
        Name of the stage to end with; the last where None. The same call without it goes on.
    client
        A ``distributed.Client`` whose workers read the input; they must see its files and ``out``.
    stages
        What to run, in order; each reads the folders of those before it.
    ranks
        The processes that train together, all called alike and with sight of ``out``: rank 0 runs
        every stage, the others wait for the stage ``train``, join it, and return.
    interruption
        What asks the run to stop: it ends as soon as it can, and the same call goes on from there.

    Raises
    ------
    ScrclError
        Bad input or settings, a folder of another run, too little memory, or training that diverged.
    Interrupted
        It was asked to stop.
    """
    from scrcl._interrupt import Interrupted, Interruption
    from scrcl.train.ranks import Ranks

    ranks, interruption = ranks or Ranks.alone(), interruption or Interruption()
    if not ranks.is_first:
        try:
            if ranks.called():
                _train_beside(open_matrix, out, config, ranks, interruption)
        except Interrupted as stopped:
            interruption.ask(stopped.number)
            raise
        return RunResult(out, [], None, None, [])
    with ranks.leading():
        return _lead(
            open_matrix,
            out,
            config,
            stages_until(stages, until),
            restart=restart,
            again=_again(stages, start, restart=restart),
            reporter=reporter or Silent(),
            client=client,
            ranks=ranks,
            interruption=interruption,
        )


def _lead(
    open_matrix: Callable[[Path | None], CellMatrix],
    out: Path,
    config: RunConfig,
    stages: Sequence[Stage],
    *,
    restart: bool,
    again: Again | None,
    **how: Any,
) -> RunResult:
    """Run the stages; ``how`` is what `Run` is given beside settings and folder."""
    header = open_matrix(None)
    names = [stage.name for stage in stages]
    check_input(header, config)
    keep_apart(header.identity, out)
    resolve_device(config.device, how["ranks"].local)
    named = read_named(header, config)
    shape = shape_of(header, config, n_batches=named.n_batches)
    budget = plan_budget(config.memory, shape, stages=names)
    settings = _what_decides(header, config, named)
    fingerprint = fingerprint_of(__version__, settings)
    with RunFolder.claim(
        out, fingerprint, settings, restart=restart, again=again, advice=_ADVICE
    ) as folder:
        introduce(folder, config)
        run = Run(config, folder, budget, open_matrix=open_matrix, **how)
        records = [run_stage(stage, run) for stage in stages]
        summarise(folder, records, _TOLD)
    last = records[-1]
    return RunResult(
        out=out,
        stages=records,
        result_path=out / last["result"] if "result" in last else None,
        report_path=out / "report.html" if "result" in last else None,
        clusters=last.get("clusters", []),
    )


def _train_beside(
    open_matrix: Callable[[Path | None], CellMatrix],
    out: Path,
    config: RunConfig,
    ranks: Ranks,
    interruption: Interruption,
) -> None:
    """Train with rank 0, which has made the inputs, holds the folder, and writes what comes of it."""
    budget = plan_budget(config.memory, shape_of(open_matrix(None), config), stages=("train",))
    folder = RunFolder(out, read_manifest(out))
    run = Run(
        config,
        folder,
        budget,
        Silent(),
        open_matrix,
        ranks=ranks,
        interruption=interruption,
    )
    learn.train_beside(run)


def stages_until(stages: Sequence[Stage], until: str | None) -> Sequence[Stage]:
    """Return the stages up to the one named; all where None."""
    names = [stage.name for stage in stages]
    if until is None:
        return stages
    if until not in names:
        message = f"until must name a stage; got {until!r}. There are: {', '.join(names)}."
        raise InputError(message)
    return stages[: names.index(until) + 1]


def _again(stages: Sequence[Stage], start: str | None, *, restart: bool) -> Again | None:
    """Return what is kept of a run that goes on from the stage named; None where none is."""
    if start is None:
        return None
    if restart:
        message = "from must go without restart, which keeps nothing; got both. Leave one out."
        raise InputError(message)
    names = [stage.name for stage in stages]
    ready = [stage.name for stage in stages if stage.reads]
    if start not in ready:
        message = f"from must be {' or '.join(ready)}; got {start!r}. Only --restart makes earlier ones anew."
        raise InputError(message)
    at = names.index(start)
    return Again(tuple(names[:at]), tuple(name for stage in stages[at:] for name in stage.reads))


def _what_decides(matrix: CellMatrix, config: RunConfig, named: Named) -> dict[str, Any]:
    """Return all that the result depends on, as JSON values."""
    return {"input": matrix.identity, **config.fingerprinted(), **named.fingerprints()}


def introduce(folder: RunFolder, config: RunConfig) -> None:
    """Write the manifest, which makes the folder ours, and then the settings."""
    folder.manifest |= {"versions": versions(), "memory_bytes": config.memory}
    folder.save()
    with atomic_path(folder.path / "config.toml") as partial:
        partial.write_text(config.to_toml(), encoding="utf-8")


def shape_of(matrix: CellMatrix, config: RunConfig, *, n_batches: int = 1) -> Shape:
    """Return the sizes that memory depends on, from the header of the input and the settings."""
    from scrcl.prep.randomized_pca import uses_gram

    n_values = matrix.nnz if matrix.nnz is not None else matrix.n_obs * matrix.n_vars
    n_genes = min(config.features.n_top_genes, matrix.n_vars)
    n_comps = min(config.reduce.n_comps, n_genes)
    train, n_neighbors = config.train, config.graph.n_neighbors
    if config.graph.balanced:
        from scrcl.graph.balanced import neighbors_per_batch

        n_neighbors = n_batches * neighbors_per_batch(n_neighbors, n_batches)
    return Shape(
        n_cells=matrix.n_obs,
        values_per_row=n_values / matrix.n_obs,
        n_genes=n_genes,
        n_comps=n_comps,
        n_features=n_genes if train.features == "hvg" else n_comps,
        n_neighbors=n_neighbors,
        refining=config.refined_by > 0 or (config.spatial and config.n_clusters == "auto"),
        graph_view=config.clustered_on == "graph_view",
        fanout=train.fanout,
        index_bytes=index_bytes(config, n_comps, n_neighbors),
        dim=train.dim,
        refined_dim=train.refined_dim,
        batch_cells=train.batch_cells,
        n_drawn=train.n_negatives if train.negatives == "sampled" else 0,
        stop_cells=train.stop_cells if train.stop == "auto" else 0,
        n_vars=matrix.n_vars,
        n_batches=n_batches,
        by_genes=matrix.layout == "csc",
        gram=uses_gram(config.reduce.solver, n_genes),
        n_also=len(config.cluster.also),
        graph_cells=config.cluster.auto_cells,
        n_groups=config.cluster.most_groups(
            matrix.n_obs, 2 if config.n_clusters == "auto" else config.n_clusters
        ),
    )


def index_bytes(config: RunConfig, n_comps: int, n_neighbors: int) -> int:
    """Return what a search that keeps points or neighbours in memory holds of a cell."""
    found, copy = 8 * n_neighbors, 4 * n_comps
    if config.spatial:
        return found + TREE_BYTES
    if config.graph.balanced:
        return found + 2 * copy
    entry = BACKENDS.get(config.graph.backend)
    return 0 if entry is None else entry.bytes_per_point(n_comps)


_TOLD = {
    "n_clusters": ("cluster", "n_clusters"),
    "graph_recall": ("graph", "recall"),
    "losses": ("train", "losses"),
}


def summarise(
    folder: RunFolder, records: list[dict[str, Any]], told: Mapping[str, tuple[str, str]]
) -> None:
    """Write into the manifest what all stages took, and what is ``told``: by name, stage and its word."""
    by_name = {record["name"]: record for record in records}
    folder.manifest |= {
        name: by_name[stage][key] for name, (stage, key) in told.items() if stage in by_name
    } | {
        "seconds": round(sum(record["seconds"] for record in records), 3),
        "peak_rss_bytes": max(record["peak_rss_bytes"] for record in records),
    }
    folder.save()
