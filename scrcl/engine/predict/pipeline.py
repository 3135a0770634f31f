"""A prediction: its stages, and what happens around them. OUT2 is a folder like that of a run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from scrcl import __version__
from scrcl._progress import Silent
from scrcl.engine import prepare as of_run
from scrcl.engine.device import resolve_device
from scrcl.engine.pipeline import RunResult, introduce, summarise
from scrcl.engine.predict import assign, embed, finish, neighbours, prepare
from scrcl.engine.predict.atlas import open_atlas
from scrcl.engine.predict.budget import plan_prediction
from scrcl.engine.predict.genes import shared_genes
from scrcl.engine.run_folder import RunFolder, fingerprint_of, keep_apart
from scrcl.engine.stage import Run, Stage, run_stage
from scrcl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from scrcl._progress import Reporter
    from scrcl.engine.predict.atlas import Atlas
    from scrcl.io.matrix import CellMatrix

__all__ = ["predict_files", "predict_matrix", "stages_of"]


def stages_of(atlas: Atlas) -> tuple[Stage, ...]:
    """Return the stages of a prediction: those of a run, but for what the atlas has learned already."""
    return (
        Stage("read", of_run.read),
        Stage("stats", partial(prepare.compute_stats, atlas)),
        Stage("features", partial(prepare.write_selected, atlas)),
        Stage("reduce", partial(prepare.project, atlas)),
        Stage("graph", partial(neighbours.find_neighbours, atlas)),
        Stage("embed", partial(embed.embed_cells, atlas)),
        Stage("cluster", partial(assign.assign_cells, atlas)),
        Stage("report", partial(finish.build_report, atlas)),
    )


def predict_files(
    out: Path,
    inputs: Sequence[Path],
    to: Path,
    *,
    reporter: Reporter | None = None,
    restart: bool = False,
    **given: Any,
) -> RunResult:
    """Predict the cells of files; see `predict_matrix`."""
    from scrcl.io.open import open_input

    atlas = open_atlas(out, given)

    def open_matrix(scratch: Path | None) -> CellMatrix:
        config = atlas.config
        return open_input(inputs, layer=config.layer, join=config.join, scratch=scratch)

    return predict_matrix(atlas, open_matrix, to, reporter=reporter, restart=restart)


def predict_matrix(
    atlas: Atlas,
    open_matrix: Callable[[Path | None], CellMatrix],
    to: Path,
    *,
    reporter: Reporter | None = None,
    restart: bool = False,
) -> RunResult:
    """Lay new cells beside a finished run: embedding, cluster and confidence of each.

    Parameters
    ----------
    atlas
        The run (`open_atlas`); nothing of its folder is written.
    open_matrix
        Opens the new cells; given a folder, a layout that cannot be streamed by rows is rewritten in it.
    to
        Output folder; an interrupted prediction of the same cells and run goes on there.
    restart
        Start over where ``to`` holds another run or prediction.

    Raises
    ------
    ScrclError
        Bad input, a folder in the way, genes of another kind, or too little memory.
    """
    header, config = open_matrix(None), atlas.config
    keep_apart(header.identity, to)
    _keep_apart(atlas.folder.path, to)
    resolve_device(config.device)
    shared_genes(header, atlas.genes, atlas.selected)
    budget = plan_prediction(header, atlas)
    settings = {
        "atlas": atlas.folder.manifest["fingerprint"],
        "learned": atlas.learned,
        "input": header.identity,
        **config.fingerprinted(),
    }
    fingerprint = fingerprint_of(__version__, "predict", settings)
    with RunFolder.claim(to, fingerprint, settings, restart=restart) as folder:
        folder.manifest["predicted_from"] = str(atlas.folder.path.resolve())
        introduce(folder, config)
        run = Run(config, folder, budget, reporter or Silent(), open_matrix)
        records = [run_stage(stage, run) for stage in stages_of(atlas)]
        summarise(folder, records, _TOLD)
    last = records[-1]
    return RunResult(
        out=to,
        stages=records,
        result_path=to / last["result"],
        report_path=to / "report.html",
        clusters=last["clusters"],
    )


_TOLD: Mapping[str, tuple[str, str]] = {
    "n_clusters": ("cluster", "n_clusters"),
    "confidence": ("cluster", "confidence"),
    "graph_recall": ("graph", "recall"),
    "n_genes_missing": ("stats", "n_genes_missing"),
}


def _keep_apart(out: Path, to: Path) -> None:
    there, here = out.resolve(), to.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        message = (
            f"the folder of the prediction must lie apart from that of the run; got {to} and {out}. "
            "Name another one by -o."
        )
        raise InputError(message)
