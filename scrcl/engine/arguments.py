"""Checks of the arguments of public functions, by their names: a wrong type is one clear error.

Settings are not here: `scrcl._settings` checks them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from inspect import signature
from numbers import Integral
from os import PathLike
from typing import ParamSpec, TypeVar

from scrcl.errors import InputError

__all__ = ["checked", "shown"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_MOST_SHOWN = 60


def checked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Check the arguments of a public function before it begins; as a decorator.

    An argument that has None as its default may be None.
    """
    parameters = signature(function).parameters
    rules = {name: _RULES[name] for name in parameters if name in _RULES}

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        given = {**dict(zip(parameters, args, strict=False)), **kwargs}
        for name, (is_right, rule) in rules.items():
            value = given.get(name)
            if name not in given or (value is None and parameters[name].default is None):
                continue
            if not is_right(value):
                message = f"{name} must be {rule}; got {shown(value)}."
                raise InputError(f"{message}{_hint(name, value)}")
        return function(*args, **kwargs)

    return call


def shown(value: object) -> str:
    """Return a wrong value for a message: itself if it is short, or its type."""
    text = repr(value)
    if isinstance(value, (str, bytes, int, float, tuple, list, dict)) and len(text) <= _MOST_SHOWN:
        return text
    return "None" if value is None else f"one {type(value).__name__}"


def _hint(name: str, value: object) -> str:
    if name in ("out", "run") and type(value).__name__ == "AnnData":
        return f' Keep the run in a folder, as by `scrcl.fit` with out="my-run", and give that folder as `{name}`.'
    return ""


def _is_path(value: object) -> bool:
    return isinstance(value, (str, PathLike)) and str(value) != ""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_clusters(value: object) -> bool:
    is_other = isinstance(value, (bytes, Mapping))
    return isinstance(value, (str, Integral, Iterable)) and not is_other


def _is_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, Integral) and int(value) >= 1


def _is_flag(value: object) -> bool:
    return isinstance(value, bool) or type(value).__name__ == "bool"  # of NumPy


def _is_config(value: object) -> bool:
    from scrcl.engine.config import RunConfig

    return isinstance(value, RunConfig)


def _is_reporter(value: object) -> bool:
    from scrcl._progress import Silent

    asked = (name for name in vars(Silent) if not name.startswith("_"))
    return all(callable(getattr(value, name, None)) for name in asked)


_PATH = _is_path, "a path"
_FOLDER = _is_path, "the path of a folder"
_COLUMN = _is_text, "the name of a column of obs"
_TEXT = _is_text, "a text"
_COUNT = _is_number, "a whole number of at least 1"
_FLAG = _is_flag, "True or False"

_RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "out": _FOLDER,
    "run": _FOLDER,
    "target": _PATH,
    "table": (_is_path, "the path of a CSV file"),
    "labels": (_is_path, "the name of a column of obs, or the folder of another run"),
    "by": _COLUMN,
    "donors": _COLUMN,
    "names": (
        lambda value: isinstance(value, Mapping) or _is_path(value),
        "names by cluster, as {3: 'B cell'}, or a CSV file",
    ),
    "clusters": (_are_clusters, "numbers or names of clusters, as 3 or [3, 5]"),
    "to": _TEXT,
    "start": (_is_text, "the name of a stage"),
    "until": (_is_text, "the name of a stage"),
    "layer": _TEXT,
    "join": _TEXT,
    "n_genes": _COUNT,
    "n_workers": _COUNT,
    "block_bytes": _COUNT,
    "write": _FLAG,
    "restart": _FLAG,
    "config": (_is_config, "a scrcl.RunConfig"),
    "reporter": (_is_reporter, "a reporter, with the methods of scrcl._progress.Reporter"),
}
