"""Command line options made from the settings, so that help, defaults and bounds stand in one place.

A command takes one parameter ``config`` (or ``given``); `with_settings` replaces it on the command line by an option
for each setting that declares one (`scrcl._settings.option`).
"""

from __future__ import annotations

import functools
import re
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from typer.models import OptionInfo

from scrcl._settings import Rule, allowed, choices, option_of, settings_of
from scrcl.cli.app import Config, Set
from scrcl.cli.texts import as_typed
from scrcl.engine.config import RunConfig
from scrcl.engine.load_config import ELSEWHERE, load_config
from scrcl.errors import ScrclError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from scrcl._settings import Setting, Settings

__all__ = ["Given", "missing_meant", "option_meant", "with_config", "with_settings"]

Given: TypeAlias = dict[str, Any]
"""Settings that were given on the command line, by dotted name; numbers are still text."""

_PANELS = ("Input", "Graph", "Training", "Clusters", "Output", "Resources", "Run")
_METAVARS: dict[Any, str] = {int: "<int>", float: "<float>"}
_Command: TypeAlias = "Callable[..., None]"


def with_settings(
    settings: Settings | None = None,
    *,
    only: Collection[str] | None = None,
    but: Collection[str] = (),
    defaults: Mapping[str, str] | None = None,
) -> Callable[[_Command], _Command]:
    """Return a decorator that replaces the parameter ``given`` of a command by options.

    The command receives a dict of what was given (`Given`); it is empty if nothing was.

    Parameters
    ----------
    settings
        Where the options come from; by default `RunConfig`.
    only, but
        Dotted names of the settings to offer, and of those to leave out; by default all that declare an option.
    defaults
        Texts of defaults that differ from those of the settings.
    """
    found = [each for each in settings_of(settings or RunConfig()) if option_of(each.field)]
    offered = {
        each.name.replace(".", "_"): each
        for each in found
        if (only is None or each.name in only) and each.name not in but
    }

    def decorate(command: _Command) -> _Command:
        options = [
            _parameter(name, each, (defaults or {}).get(each.name))
            for name, each in offered.items()
        ]

        def call(**values: Any) -> None:
            chosen = {each.name: values.pop(name) for name, each in offered.items()}
            given = {name: value for name, value in chosen.items() if value is not None}
            # With a file or --set it is not known which of the others were typed as options.
            known = given if values.get("config_file") or values.get("assignments") else chosen
            with _naming_options([each for each in found if each.name in known]):
                command(**values, given=given)

        return _as_command(call, command, "given", options)

    return decorate


def with_config(**limits: Any) -> Callable[[_Command], _Command]:
    """Return a decorator that replaces the parameter ``config`` of a command by options, ``--config`` and ``--set``.

    The command receives the resolved `RunConfig`: settings of the file, then options, then ``--set``.

    Parameters
    ----------
    **limits
        As for `with_settings`.
    """
    more = [
        Parameter("config_file", Parameter.KEYWORD_ONLY, default=None, annotation=Config),
        Parameter("assignments", Parameter.KEYWORD_ONLY, default=None, annotation=Set),
    ]

    def decorate(command: _Command) -> _Command:
        def resolve(**values: Any) -> None:
            given, file = values.pop("given"), values.pop("config_file")
            assignments = values.pop("assignments") or ()
            command(**values, config=load_config(file, settings=assignments, overrides=given))

        given = Parameter("given", Parameter.KEYWORD_ONLY, annotation=Given)
        return with_settings(**limits)(_as_command(resolve, command, "config", [given, *more]))

    return decorate


def option_meant(error: Exception) -> str | None:
    """Return the text for an unknown option with a name that other libraries have; None for any other error."""
    typed, context = getattr(error, "option_name", ""), getattr(error, "ctx", None)
    name = ELSEWHERE.get(typed.lstrip("-").replace("-", "_"))
    if name is None or context is None:
        return None
    setting = next(each for each in settings_of(RunConfig()) if each.name == name)
    option = option_of(setting.field)
    given = option.names[0] if option else f"--set {name}=..."
    if given.split()[0] not in {each for param in context.command.params for each in param.opts}:
        return None
    meaning = as_typed(setting.field.description or "")
    return (
        f"No such option: {typed}. In its place there is {given}: {meaning[0].lower()}{meaning[1:]}"
    )


def missing_meant(error: Exception) -> str | None:
    """Return that an option or argument must be given, and what it is; None for any other error."""
    param, kind = getattr(error, "param", None), type(error).__name__
    if param is None or kind != "MissingParameter":
        return None
    is_option = param.param_type_name == "option"
    name = " / ".join(param.opts) if is_option else (param.metavar or param.name.upper())
    meaning = getattr(param, "help", None) or "see the help with -h."
    if meaning[1:2].islower():  # not CSV
        meaning = meaning[0].lower() + meaning[1:]
    return f"{name} must be given: {meaning}"


def _as_command(
    call: _Command, command: _Command, replaced: str, options: list[Parameter]
) -> _Command:
    """Return ``call`` with name, help and parameters of ``command``, one of them ``replaced`` by options."""
    described = signature(command, eval_str=True)
    parameters = []
    for parameter in described.parameters.values():
        parameters += (
            options
            if parameter.name == replaced
            else [parameter.replace(kind=Parameter.KEYWORD_ONLY)]
        )
    wrapped = functools.wraps(command)(call)
    parameters.sort(key=_panel_rank)  # the help lists panels in the order of their first option
    # typer reads both: the signature for defaults, the annotations for types.
    shown: Any = wrapped
    shown.__signature__ = described.replace(parameters=parameters)
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapped


@contextmanager
def _naming_options(settings: Sequence[Setting]) -> Iterator[None]:
    """Let errors name settings by their options, as typed.

    Errors name a setting with its dots anywhere, which is unmistakable, and one without dots where they begin. What
    an error advises to give stands in backquotes: `scrcl.cli.texts` turns that into options.
    """
    try:
        yield
    except ScrclError as error:
        text = str(error)
        for each in settings:
            option = option_of(each.field)
            assert option is not None
            name = re.escape(each.name)
            pattern = (
                rf"(?<![\w.`]){name}(?![\w=]|\.\w)" if "." in each.name else rf"^{name}(?= must )"
            )
            text = re.sub(pattern, option.names[0], text)
        if text == str(error):
            raise
        raise type(error)(text) from error


def _panel_rank(parameter: Parameter) -> int:
    """Return the position of the panel of an option; arguments come first, in their order."""
    infos = getattr(parameter.annotation, "__metadata__", ())
    panels = [info.rich_help_panel for info in infos if isinstance(info, OptionInfo)]
    return _PANELS.index(panels[0]) if panels and panels[0] in _PANELS else -1


def _parameter(name: str, setting: Setting, default: str | None) -> Parameter:
    """Return the option of a setting.

    Values stay text, except flags: the configuration reads them. So a wrong value gives the same message from a file,
    from Python and from the command line.
    """
    option = option_of(setting.field)
    assert option is not None
    is_flag = setting.field.annotation is bool
    # A rule reads text such as 4GB, whatever the type of the setting is.
    has_rule = any(isinstance(each, Rule) for each in setting.field.metadata)
    words = choices(setting.field)
    info = typer.Option(
        *option.names,
        help=" ".join([as_typed(setting.field.description or ""), *_notes(setting, default)]),
        rich_help_panel=option.panel,
        metavar=None if has_rule else _METAVARS.get(setting.field.annotation),
        autocompletion=lambda incomplete: [word for word in words if word.startswith(incomplete)],
    )
    kind = bool if is_flag else str
    return Parameter(
        name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, info]
    )


def _notes(setting: Setting, default: str | None) -> list[str]:
    """Return allowed values and default in brackets; nothing for flags and for text without a default."""
    if setting.field.annotation is bool:
        return []
    values = allowed(setting.field).removesuffix(" or unset")
    notes = [] if values in ("text", "a path") else [values]
    if default is not None or setting.value is not None:
        notes.append(f"default: {setting.value if default is None else default}")
    return [f"[{'; '.join(notes)}]"] if notes else []
