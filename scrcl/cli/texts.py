"""Texts as the command line shows them: what they name as in Python becomes what is typed in a shell.

Texts hold in backquotes what the reader may give: ``n_clusters=8``, ``start="cluster"``, ``names.species="mouse"``,
``scrcl.rename``. Here these become ``--n-clusters 8``, ``--from cluster``, ``--set names.species=mouse``,
``scrcl rename``. All else in backquotes stays as it is.
"""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache, partial

from scrcl._settings import option_of, settings_of
from scrcl.engine.config import RunConfig
from scrcl.engine.simulate import SimulateConfig

__all__ = ["as_typed"]

_ARGUMENTS = {
    "start": "--from",
    "until": "--until",
    "restart": "--restart",
    "inputs": "--input",
    "order": "--order",
    "table": "--table",
    "to": "--to",
}
"""Options of arguments that are no settings."""

_FIRST = {
    **_ARGUMENTS,
    "by": "--by",
    "cluster": "--cluster",
    "donors": "--donors",
    "labels": "--labels",
    "pair": "--pair",
}
"""Options that take the place of the first word of an error. Elsewhere these words are not those of an option."""

_COMMANDS = {
    "scrcl.fit": "scrcl run",
    "scrcl.find_markers": "scrcl markers",
    "scrcl.write_back": "scrcl export --write-back",
}
"""Commands whose names are not those of the functions."""

_CODE = re.compile(r"`([^`]+)`")
_VALUE = r"\"[^\"]*\"|'[^']*'|[^\s,\"'=]+"
_GIVEN = re.compile(rf"(?P<name>[a-z_]+(?:\.[a-z_]+)*)(?:=(?P<value>{_VALUE}))?(?:, |$)")


def as_typed(text: str, *, quoted: bool = False) -> str:
    """Return a text of the library with options and commands in place of settings, arguments and functions.

    If ``quoted``, options keep the backquotes, by which a page shows them as code.
    """
    started = re.match(rf"({'|'.join(_FIRST)})(?= must )", text)
    if started:
        text = _FIRST[started[0]] + text[started.end() :]
    return _CODE.sub(partial(_typed, quoted=quoted), text)


def _typed(code: re.Match[str], *, quoted: bool) -> str:
    """Return what is typed for one piece in backquotes."""
    text = code[1]
    if re.fullmatch(r"scrcl\.[a-z_]+", text):
        return "`" + _COMMANDS.get(text, text.replace(".", " ").replace("_", "-")) + "`"
    given, end = [], 0
    while end < len(text):
        found = _GIVEN.match(text, end)
        typed = None if found is None else _option(found["name"], found["value"])
        if found is None or typed is None:
            return code[0]
        given.append(typed)
        end = found.end()
    typed = " ".join(given)
    return f"`{typed}`" if quoted else typed


def _option(name: str, value: str | None) -> str | None:
    """Return the option of a setting or an argument, with its value; None if it has none."""
    option = _ARGUMENTS.get(name) or _options().get(name)
    if option is None:
        is_setting = "." in name and value is not None
        return f"--set {shlex.quote(f'{name}={_plain(value)}')}" if is_setting else None
    if value is None or value == "True":
        return option
    if value == "False":
        return option.replace("--", "--no-", 1)
    return f"{option} {shlex.quote(_plain(value))}"


def _plain(value: str | None) -> str:
    """Return a value without the quotes of Python."""
    return str(ast.literal_eval(value)) if value and value[0] in "\"'" else str(value)


@cache
def _options() -> dict[str, str]:
    """Return the options of settings by their dotted names; those of a run win over those of a simulation."""
    found = {}
    for settings in (SimulateConfig(), RunConfig()):
        for each in settings_of(settings):
            if option := option_of(each.field):
                found[each.name] = option.names[0]
    return found
