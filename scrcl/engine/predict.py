"""A prediction: new cells compared with a finished run. OUT2 is a folder like that of a run.

Its stages are the `Stage.for_new_cells` of the run's stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from scrcl import __version__
from scrcl._interrupt import Interruption
from scrcl._progress import Silent
from scrcl._settings import settings_of
from scrcl.cluster.artifacts import MICRO_MEANS
from scrcl.engine.budget import plan_budget
from scrcl.engine.config import OF_PREDICTIONS, RunConfig
from scrcl.engine.context import Context, Workers
from scrcl.engine.covariates import Covariates, read_covariates
from scrcl.engine.device import resolve_device
from scrcl.engine.fingerprint import fingerprint_of, fingerprint_of_array
from scrcl.engine.folder import RunFolder
from scrcl.engine.found_slices import with_slices
from scrcl.engine.open_run import OpenRun, open_run, saved_config
from scrcl.engine.paths import keep_apart, open_files
from scrcl.engine.run import RunResult, run_in_folder
from scrcl.engine.shape import shape_of
from scrcl.errors import InputError
from scrcl.io.identity import content_of
from scrcl.prep.artifacts import SELECTED_GENES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from scrcl._contract import Artifact
    from scrcl._progress import Reporter
    from scrcl.engine.stage import Stage
    from scrcl.io.matrix import CellMatrix

__all__ = ["new_cell_stages", "predict_files", "predict_matrix", "run_for_prediction"]

_OWN = ("device", "features.values", "format", "keep_x", "memory")
"""Those that fall back to their defaults, not to the values of the run."""


def new_cell_stages(run: OpenRun) -> tuple[Stage[Any], ...]:
    """Return the stages of a prediction from ``run``.

    Raises
    ------
    InputError
        New cells cannot be compared with such a run.
    """
    twins: list[Stage[Any]] = []
    given: set[Artifact[Any]] = set()
    for stage in run.stages:
        twin = stage.for_new_cells(run)
        if twin is not None:
            twins.append(twin)
            given.update(stage.gives)
        elif not given.isdisjoint(run.given_by(stage)):
            # The run has corrected values, new cells would have those before correction.
            names = ", ".join(
                artifact.name for artifact in run.given_by(stage) if artifact in given
            )
            message = (
                f"OUT must be a run whose stages can do the same for new cells; got the stage {stage.name}, which "
                f"changes the {names} and cannot. Run without that stage."
            )
            raise InputError(message)
    return tuple(twins)


def run_for_prediction(out: str | Path, given: Mapping[str, Any]) -> OpenRun:
    """Open a finished run with the settings that a prediction from it will have.

    Parameters
    ----------
    out
        Output folder of the run.
    given
        Settings of the prediction (`OF_PREDICTIONS`). ``layer`` and ``join`` are those of the run where not given; the
        layer "X" is X.

    Raises
    ------
    StoreError
        ``out`` holds no finished run, or files that a prediction needs are missing.
    InputError
        A setting breaks its rule, or new cells cannot be compared with such a run.
    """
    given = dict(_flat(given))
    unknown = sorted(given.keys() - set(OF_PREDICTIONS))
    if unknown:
        message = f"a prediction must be given only {', '.join(OF_PREDICTIONS)}; got {unknown[0]!r}. Leave it out."
        raise InputError(message)
    opened = open_run(out)
    declared = {each.name: each.value for each in settings_of(RunConfig())}
    defaults = {name: declared[name] for name in _OWN}
    asked = {**given, "layer": None} if str(given.get("layer")) == "X" else given
    run = OpenRun(opened.folder, opened.stages, saved_config(opened.folder, {**defaults, **asked}))
    new_cell_stages(run)
    # New cells need what stages without a twin leave, too: the model, its inputs and the gene graph.
    for stage in run.stages:
        for artifact in run.given_by(stage):
            run.open(artifact)
    return run


def predict_files(
    run: OpenRun,
    inputs: Sequence[Path],
    out: Path,
    *,
    reporter: Reporter | None = None,
    restart: bool = False,
) -> RunResult:
    """Predict the cells of files; see `predict_matrix`."""
    open_matrix = partial(open_files, inputs, run.config)
    return predict_matrix(run, open_matrix, out, reporter=reporter, restart=restart)


def predict_matrix(
    run: OpenRun,
    open_matrix: Callable[[Path | None], CellMatrix],
    out: Path,
    *,
    reporter: Reporter | None = None,
    restart: bool = False,
) -> RunResult:
    """Find embedding, cluster and confidence of new cells from a finished run.

    Parameters
    ----------
    run
        The run (`run_for_prediction`). Nothing in its folder is written.
    open_matrix
        Opens the new cells. Given a folder, it may rewrite a layout there that cannot be streamed by rows.
    out
        Output folder. An interrupted prediction of the same cells and run continues there.
    restart
        Start over where ``out`` holds another run or prediction.

    Raises
    ------
    ScrclError
        Bad input, a folder of another run, genes that do not match, or too little memory.
    """
    from scrcl.train.ranks import Ranks

    header, config, stages = open_matrix(None), run.config, new_cell_stages(run)
    keep_apart(header.identity, out)
    _keep_apart(run.path, out)
    resolve_device(config.device)
    for stage in stages:
        stage.check(header, config)
    covariates = _covariates_of_new(header, config)
    shape = replace(shape_of(header, config), n_genes=len(run.open(SELECTED_GENES)))
    budget = plan_budget(config.memory, stages, shape, config)
    settings = {
        "atlas": run.fingerprint,
        # The same run on another device has other micro-cluster means.
        "learned": fingerprint_of_array(run.open(MICRO_MEANS)),
        "input": content_of(header.identity),
        **config.fingerprinted(),
        **covariates.fingerprints(),
    }
    fingerprint = fingerprint_of(__version__, "predict", settings)
    cheap = [stage.name for stage in stages if stage.is_cheap]
    with RunFolder.claim(out, fingerprint, settings, restart=restart, cheap=cheap) as folder:
        context = Context(
            folder,
            stages,
            config,
            budget=budget,
            covariates=covariates,
            open_matrix=open_matrix,
            workers=Workers(reporter or Silent(), Ranks.alone(), Interruption()),
        )
        return run_in_folder(context, shape, predicted_from=str(run.path.resolve()))


def _covariates_of_new(header: CellMatrix, config: RunConfig) -> Covariates:
    """Return coordinates and slices of new cells of a tissue; other new cells need none.

    Slices are those of the column that the run names, if the new cells have it, or those that the input itself shows.
    """
    if not config.spatial:
        return Covariates()
    key = config.sample_key
    has_key = key is None or key in header.fresh_obs()
    # Batches are compared with those of the run by name, when they are corrected.
    asked = config.model_copy(update={"sample_key": key if has_key else None, "batch_key": None})
    found, notes = with_slices(asked, header)
    if found.sample_key is None and not has_key:
        notes = (
            *notes,
            f"The new cells have no column {key} in obs, so all of them are taken as one slice.",
        )
    return read_covariates(header, found.model_copy(update={"batch_key": None}), notes=notes)


def _flat(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield settings by dotted name, also those that are given as groups."""
    for name, value in given.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", each) for key, each in value.items())
        else:
            yield name, value


def _keep_apart(run: Path, out: Path) -> None:
    there, here = run.resolve(), out.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        message = (
            f"the folder of the prediction must be apart from that of the run; got {out} and {run}. "
            "Name another one."
        )
        raise InputError(message)
