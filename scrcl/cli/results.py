"""Commands on finished runs: rename, subcluster, markers, pseudobulk, export, predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scrcl.cli.app import FinishedOut, Inputs, Out, Quiet, Restart, app
from scrcl.cli.options import Given, with_settings
from scrcl.cli.texts import as_typed
from scrcl.engine.config import OF_PREDICTIONS
from scrcl.engine.export import FORMATS
from scrcl.errors import InputError

__all__ = ["export", "markers", "predict", "pseudobulk", "rename", "subcluster"]

Moved = Annotated[
    list[Path] | None,
    typer.Option(
        "--input",
        help="Where the input of the run is now, if it was moved.",
        rich_help_panel="Input",
    ),
]


@app.command()
def rename(
    out: FinishedOut,
    names: Annotated[
        Path,
        typer.Argument(
            help="CSV file with the columns cluster (or domain) and name. A cluster is given by its number or "
            "its name, a subcluster as 3_0."
        ),
    ],
    inputs: Moved = None,
    quiet: Quiet = False,
) -> None:
    """Name clusters of the finished run in OUT by a CSV file with the columns cluster and name.

    Names stay when stages are redone: a cluster that is found again keeps its name.
    """
    from scrcl.cli.render import reporting, show_run
    from scrcl.engine.rename import rename as rename_clusters

    with reporting(quiet) as reporter:
        result = rename_clusters(out, names, inputs=inputs or (), reporter=reporter)
    show_run(result, reporter, timed=False)


@app.command()
@with_settings(
    only=["n_clusters", "memory", "device"],
    defaults={"memory": "that of the run", "device": "that of the run"},
)
def subcluster(
    context: typer.Context,
    out: FinishedOut,
    clusters: Annotated[
        list[str],
        typer.Option("--cluster", help="Number or name of a cluster; repeat for more."),
    ],
    given: Given,
    write: Annotated[
        bool,
        typer.Option(
            help="Put obs['scrcl_sub'] into the result and the report now, or leave it to --from subclusters.",
            rich_help_panel="Output",
        ),
    ] = True,
    inputs: Moved = None,
    quiet: Quiet = False,
) -> None:
    """Look into clusters of the finished run in OUT: subclusters of each, and their marker genes.

    Each cluster gets variable genes, components and neighbours of its own. Tables lie in OUT/subclusters/CLUSTER.
    """
    from scrcl.cli.render import console, reporting, say
    from scrcl.cli.tables import groups_table
    from scrcl.engine.subclusters import subcluster as look_into

    with reporting(quiet) as reporter:
        looks = look_into(
            out,
            clusters,
            write=write,
            inputs=inputs or (),
            reporter=reporter,
            interruption=context.obj,
            **given,
        )
    for look in looks:
        say(f"\n{as_typed(look.summary)}")
        for note in look.notes:
            say(f"note: {as_typed(note)}")
        if look.n_subclusters > 1:
            console.print(groups_table(look.markers, heading="subcluster"))
            say(f"tables  {look.folder}")


By = Annotated[
    str,
    typer.Option(
        help="Column of obs with the groups: clusters, scrcl_k8, scrcl_sub, scrcl_name, or a column of the input."
    ),
]


@app.command()
def markers(
    out: FinishedOut,
    by: By = "scrcl",
    pair: Annotated[
        str | None,
        typer.Option(
            help="Two groups, with a comma, that are compared alone: clusters and subclusters by number or name."
        ),
    ] = None,
    n_genes: Annotated[
        int | None, typer.Option(min=1, help="Genes of each group; by default as in the run.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="CSV file to write.", rich_help_panel="Output"),
    ] = None,
    inputs: Moved = None,
    quiet: Quiet = False,
) -> None:
    """Find marker genes of any groups of cells of the finished run in OUT."""
    from scrcl.cli.render import console, reporting, say
    from scrcl.cli.tables import groups_table
    from scrcl.engine.disk import require_new, writing
    from scrcl.engine.groups import find_markers
    from scrcl.markers.ranking import for_spreadsheets

    if file is not None:
        require_new(file, "--out")
    with reporting(quiet) as reporter:
        table = find_markers(
            out, by=by, pair=pair, n_genes=n_genes, inputs=inputs or (), reporter=reporter
        )
    console.print(groups_table(table))
    if file is not None:
        with writing(file) as partial:
            for_spreadsheets(table).to_csv(partial, index=False)
        say(f"\nmarkers  {file}")


@app.command()
def pseudobulk(
    out: FinishedOut,
    donors: Annotated[str, typer.Option(help="Column of obs with the donor of each cell.")],
    file: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="AnnData file to write (.h5ad).", rich_help_panel="Output"
        ),
    ],
    by: By = "scrcl",
    inputs: Moved = None,
    quiet: Quiet = False,
) -> None:
    """Add up the counts of each group of cells in each donor, for tests between donors.

    Cells of one donor are no replicates.
    """
    from scrcl.cli.render import reporting, say
    from scrcl.engine.disk import require_new, writing
    from scrcl.engine.groups import pseudobulk as add_up

    require_new(file, "--out")
    with reporting(quiet) as reporter:
        sums = add_up(out, donors=donors, by=by, inputs=inputs or (), reporter=reporter)
    with writing(file) as partial:
        sums.write_h5ad(partial)
    say(f"{sums.n_obs:,} sums of {sums.n_vars:,} genes  {file}")


@app.command()
def export(
    out: FinishedOut,
    to: Annotated[
        str | None,
        typer.Option(help=f"Format: {', '.join(FORMATS)}.", autocompletion=lambda: list(FORMATS)),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("-o", "--out", help="File to write.", rich_help_panel="Output")
    ] = None,
    into_input: Annotated[
        bool,
        typer.Option(
            "--write-back",
            help="Add the keys of the result to the Zarr store that the run read. X is not touched.",
            rich_help_panel="Output",
        ),
    ] = False,
    inputs: Moved = None,
) -> None:
    """Write the finished run in OUT for other programs: tables of cells, or an AnnData with X."""
    from scrcl.cli.render import say
    from scrcl.engine.export import export as write
    from scrcl.engine.write_back import write_back

    if into_input and (to is not None or file is not None):
        message = f"--write-back must go without --to and -o; got {to or file}. It writes into the input of the run."
        raise InputError(message)
    if into_input:
        written = write_back(out, inputs=inputs or ())
    elif to is None or file is None:
        message = f"export must have --to ({', '.join(FORMATS)}) and -o FILE, or --write-back; one is missing."
        raise InputError(message)
    else:
        written = write(out, file, to, inputs=inputs or ())
    say(str(written))


@app.command()
@with_settings(
    only=OF_PREDICTIONS,
    defaults={
        "layer": "that of the run; X for X",
        "join": "that of the run",
        "coordinates": "that of the run",
        "sample_key": "that of the run",
    },
)
def predict(
    run: FinishedOut,
    inputs: Inputs,
    out: Out,
    given: Given,
    restart: Restart = False,
    quiet: Quiet = False,
) -> None:
    """Predict embedding, cluster and confidence of the new cells in INPUTS from the finished RUN.

    RUN does not change. The same command resumes an interrupted prediction.
    """
    from scrcl.cli.render import reporting, show_ending
    from scrcl.cli.tables import predicted_table
    from scrcl.engine.predict import predict_files, run_for_prediction

    finished = run_for_prediction(run, given)
    with reporting(quiet) as reporter:
        result = predict_files(finished, inputs, out, reporter=reporter, restart=restart)
    show_ending(result, predicted_table(result.clusters), reporter, timed=not quiet)
