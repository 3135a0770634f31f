"""From a file, keywords and ``--set`` to the settings of a run; what is wrong with them is said in one line."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from scrcl.engine.config import RunConfig
from scrcl.errors import InputError
from scrcl.train.methods import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["first_fault", "load_config"]


_KINDS = {"tuple_type": "a list, as [8, 20]", "model_type": "a group of settings"}
"""Rules that pydantic tells in Python's words."""


def load_config(
    path: Path | None = None,
    *,
    settings: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Resolve a configuration: defaults, then a TOML file, then ``overrides``, then ``settings``.

    Parameters
    ----------
    path
        A TOML file with the fields of `RunConfig`.
    settings
        Assignments such as ``"train.lr=1e-3"``; values are read as TOML, or else as text.
    overrides
        Top-level fields, or whole groups of settings, that win over the file.

    Raises
    ------
    InputError
        An unknown key, or a value that breaks a rule: the key, the value and the rule are named.
    """
    tree = _read_toml(path) if path is not None else {}
    tree.update(overrides or {})
    for assignment in settings:
        _assign(tree, assignment)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise InputError(first_fault(error)) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"config must be a readable file; got {path} ({error.strerror})."
        raise InputError(message) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"config must be TOML; got {path} ({error})."
        raise InputError(message) from None


def _assign(tree: dict[str, Any], assignment: str) -> None:
    key, equals, text = assignment.partition("=")
    *groups, name = key.strip().split(".")
    if not equals or not all([*groups, name]):
        message = f"--set must be KEY=VALUE, as in train.lr=1e-3; got {assignment!r}."
        raise InputError(message)
    for group in groups:
        inner = tree.get(group, {})
        if isinstance(inner, BaseModel):
            inner = inner.model_dump()
        if not isinstance(inner, dict):
            message = f"--set {key.strip()} must name a setting; {group} is a value, not a group."
            raise InputError(message)
        tree[group] = inner = dict(inner)
        tree = inner
    try:
        tree[name] = tomllib.loads(f"value = {text.strip()}")["value"]
    except ValueError:  # no TOML, or a number of thousands of digits
        tree[name] = text.strip()


def first_fault(error: ValidationError) -> str:
    """Say what is wrong with the first faulty setting."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
    rule = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    rule = _KINDS.get(first["type"], rule)
    if first["type"] == "value_error":
        return rule
    if first["type"] == "extra_forbidden":
        return f"{where} must be a known setting; got {first['input']!r}. {_suggest(first['loc'])}"
    return f"{where} must be {rule}; got {first['input']!r}."


def _suggest(location: tuple[int | str, ...]) -> str:
    """Name the setting that was probably meant, or all of its group."""
    *groups, name = map(str, location)
    fields = _fields_of(groups[0]) if groups else [*RunConfig.model_fields, *METHODS]
    # A setting of this name in another group is more likely meant than a similar name in this one.
    elsewhere = [group for group in _groups() if groups and name in _fields_of(group)]
    if len(elsewhere) == 1:
        return f"Did you mean {elsewhere[0]}.{name}?"
    near = get_close_matches(name, fields, n=1)
    if near:
        return f"Did you mean {'.'.join([*groups, near[0]])}?"
    return f"There are: {', '.join(fields)}."


def _groups() -> list[str]:
    """Return the names of all groups of settings."""
    return [name for name in [*RunConfig.model_fields, *METHODS] if _fields_of(name)]


def _fields_of(group: str) -> list[str]:
    """Return the settings of a group; none if it is a single setting."""
    if group in METHODS:
        return [*METHODS[group].settings.model_fields]
    inner: Any = RunConfig.model_fields[group].annotation
    is_group = isinstance(inner, type) and issubclass(inner, BaseModel)
    return [*inner.model_fields] if is_group else []
