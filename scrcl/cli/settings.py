"""The command that lists all settings: settings."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import tomli_w
import typer

from scrcl._settings import allowed, option_of, settings_of
from scrcl.cli.app import Json, app
from scrcl.cli.options import with_config
from scrcl.engine.config import RunConfig
from scrcl.errors import InputError
from scrcl.train.methods import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrcl._settings import Setting

__all__ = ["settings"]

_GENERAL = "general"
"""Name of the settings outside any group."""
_WIDTH = 88

Group = Annotated[
    str | None,
    typer.Argument(
        help=f"Group to list, for example `graph`; `{_GENERAL}` for settings outside groups.",
        autocompletion=lambda: list(_by_group(RunConfig())),
    ),
]
Toml = Annotated[
    bool,
    typer.Option(
        "--toml", help="Print a commented TOML file for --config.", rich_help_panel="Output"
    ),
]


@app.command()
@with_config(only=["method", "preset"])
def settings(
    config: RunConfig, group: Group = None, as_json: Json = False, as_toml: Toml = False
) -> None:
    """List every setting of a run with its meaning, value, allowed values and option.

    Values are the defaults, unless --preset, --config or --set gives others.
    """
    groups = _by_group(config)
    if group is not None:
        if group not in groups:
            method = group.partition(".")[0]
            hint = f" Add --method {method}." if method in METHODS else ""
            message = f"group must be one of {', '.join(groups)}; got {group!r}.{hint}"
            raise InputError(message)
        groups = {group: groups[group]}
    if as_json:
        typer.echo(json.dumps([_described(each) for found in groups.values() for each in found]))
    elif as_toml:
        typer.echo("\n".join(_toml(groups)))
    else:
        from scrcl.cli.render import console
        from scrcl.cli.tables import settings_table

        for name, found in groups.items():
            console.print(settings_table(name, [_described(each) for each in found]))


def _by_group(config: RunConfig) -> dict[str, list[Setting]]:
    """Return the settings by the dotted name of their group, those outside groups first."""
    groups: dict[str, list[Setting]] = {_GENERAL: []}
    for each in settings_of(config):
        group, _, _ = each.name.rpartition(".")
        groups.setdefault(group or _GENERAL, []).append(each)
    return groups


def _described(setting: Setting) -> dict[str, Any]:
    option = option_of(setting.field)
    return {
        "name": setting.name,
        "meaning": setting.field.description,
        "value": setting.value,
        "allowed": allowed(setting.field),
        "option": option.names[0] if option else None,
    }


def _toml(groups: dict[str, list[Setting]]) -> Iterable[str]:
    """Yield the lines of a TOML file; unset settings are comments, as TOML has no such value."""
    for name, found in groups.items():
        if name != _GENERAL:
            yield f"[{name}]"
        for each in found:
            text = f"{each.field.description} Allowed: {allowed(each.field)}."
            yield from textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")
            key = each.name.rpartition(".")[2]
            yield f"# {key} =" if each.value is None else _assignment(key, each.value)
            yield ""


def _assignment(key: str, value: Any) -> str:
    return " ".join(tomli_w.dumps({key: value}).split("\n")).strip()
