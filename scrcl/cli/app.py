"""The application of the commands, and the parameters that several commands share.

Options of settings are not here: `scrcl.cli.options` makes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scrcl import __version__
from scrcl.engine.stages import STAGES
from scrcl.io.formats import FORMATS_HELP

__all__ = [
    "Config",
    "FinishedOut",
    "From",
    "Inputs",
    "Json",
    "Out",
    "Quiet",
    "Restart",
    "Set",
    "Until",
    "app",
]

_REDOABLE = tuple(stage.name for stage in STAGES if stage.redo_settings)

app = typer.Typer(
    name="scrcl",
    help="Cell types from single-cell atlases that do not fit in memory.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Inputs = Annotated[
    list[Path],
    typer.Argument(help=f"Each {FORMATS_HELP}; several inputs are samples."),
]
FinishedOut = Annotated[Path, typer.Argument(help="Output folder of a finished run.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Output folder.", rich_help_panel="Output")]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with settings.", rich_help_panel="Run"),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any setting, for example train.lr=1e-3; repeat for more. `scrcl settings` lists all.",
        rich_help_panel="Run",
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help=f"Redo this stage and all later ones: {', '.join(f'`{name}`' for name in _REDOABLE[:-1])} or "
        f"`{_REDOABLE[-1]}`. The trained model is kept, and settings that you do not give stay as they were.",
        autocompletion=lambda: list(_REDOABLE),
        rich_help_panel="Run",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        help="Stop after this stage. The same command without it continues.", rich_help_panel="Run"
    ),
]
Restart = Annotated[
    bool,
    typer.Option(
        "--restart",
        help="Delete what an earlier call left in the output folder, and start over.",
        rich_help_panel="Run",
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", help="Print only the result, no progress.", rich_help_panel="Run"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel="Output")]


@app.callback(invoke_without_command=True)
def _no_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
