"""The application that commands hang on, and the options that several of them share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scrcl import __version__

__all__ = [
    "BatchKey",
    "Config",
    "Device",
    "FinishedOut",
    "Format",
    "From",
    "Inputs",
    "Join",
    "Json",
    "KeepX",
    "Knn",
    "Layer",
    "Memory",
    "NClusters",
    "Out",
    "Quiet",
    "Recall",
    "Restart",
    "SampleKey",
    "Seed",
    "Settings",
    "Spatial",
    "Until",
    "app",
]

app = typer.Typer(
    name="scrcl",
    help="Cell types from single-cell atlases that do not fit in memory.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Inputs = Annotated[
    list[Path],
    typer.Argument(
        help=".h5ad, AnnData .zarr, 10x .h5, or a matrix.mtx folder; several are samples."
    ),
]
Out = Annotated[Path, typer.Option("-o", "--out", help="Output folder.")]
Seed = Annotated[int | None, typer.Option(help="Seed of every random stream [default: 0].")]
Memory = Annotated[str | None, typer.Option(help="Peak memory, as 2GB or 512MiB [default: 4GB].")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N [default: auto].")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A setting, as train.lr=1e-3; may be repeated.")
]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.")]
Restart = Annotated[bool, typer.Option("--restart", help="Start over in an OUT that holds a run.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only the result.")]


FinishedOut = Annotated[Path, typer.Argument(help="Output folder of a finished run.")]
Layer = Annotated[str | None, typer.Option(help="Layer to read instead of X; `raw` for raw.X.")]
Join = Annotated[
    str | None,
    typer.Option(help="Genes of several inputs, inner or outer [default: inner]."),
]
BatchKey = Annotated[
    str | None,
    typer.Option(help="Column of obs (a donor, a study): choose variable genes batch by batch."),
]
Spatial = Annotated[bool | None, typer.Option("--spatial", help="Cell graph on obsm['spatial'].")]
SampleKey = Annotated[
    str | None,
    typer.Option(
        help="With --spatial: column of obs that tells the slice; no neighbours across slices."
    ),
]
Knn = Annotated[
    str | None,
    typer.Option(
        help="Search of neighbours: auto, exact, partitioned, ivf, hnsw, pynndescent [default: auto]."
    ),
]
Recall = Annotated[
    float | None,
    typer.Option(
        help="Share of true neighbours that the search must find, measured on a sample [default: 0.95]."
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="cluster or report: make that stage of the run in OUT anew, and those after it, with the settings given.",
    ),
]
NClusters = Annotated[str | None, typer.Option(help="A number, or auto [default: auto].")]
Until = Annotated[
    str | None, typer.Option(help="Stage to end with; the same command without it goes on.")
]
Format = Annotated[str | None, typer.Option("--format", help="h5ad or zarr [default: h5ad].")]
KeepX = Annotated[bool | None, typer.Option("--keep-x", help="Copy X into the result.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback(invoke_without_command=True)
def _no_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
