"""The settings of a run from a file, keywords and ``--set``; a fault is reported in one line."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from scrcl._settings import Settings, option_of, settings_of
from scrcl.engine.arguments import shown
from scrcl.engine.config import RunConfig
from scrcl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "ELSEWHERE",
    "given_settings",
    "load_config",
    "merged",
    "validated",
    "with_given",
    "with_values",
]

SettingsT = TypeVar("SettingsT", bound=Settings)


_KINDS = {
    "tuple_type": "a list, as [8, 20]",
    "model_type": "a group of settings",
    "string_type": "a text",
    "path_type": "the path of a file",
}
"""Rules that pydantic describes by types of Python."""


def load_config(
    path: str | Path | None = None,
    *,
    settings: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Resolve a configuration: defaults, a named preset, then a TOML file, ``overrides``, ``settings``.

    Parameters
    ----------
    path
        A TOML file with the fields of `RunConfig`.
    settings
        Assignments such as ``"train.lr=1e-3"``; values are read as TOML, or else as text.
    overrides
        Values by dotted name (``graph.recall``), or whole groups of settings, that win over the file.

    Raises
    ------
    InputError
        An unknown key, or a value that breaks a rule; the message names key, value and rule.
    """
    tree = _read_toml(Path(path)) if path is not None else {}
    tree = with_values(tree, overrides or {})
    for assignment in settings:
        _put(tree, *_parse(assignment))
    return validated(RunConfig, tree)


def with_given(base: Mapping[str, Any], given: RunConfig) -> RunConfig:
    """Return the settings ``base``, replaced by those of ``given`` that are not left to their defaults.

    Raises
    ------
    InputError
        They do not fit together.
    """
    return validated(RunConfig, merged(base, given.model_dump(exclude_unset=True)))


def merged(base: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``settings`` over it, group by group."""
    tree = dict(base)
    for name, value in settings.items():
        both = isinstance(value, dict) and isinstance(tree.get(name), dict)
        tree[name] = {**tree[name], **value} if both else value
    return tree


def given_settings(config: Settings, group: str = "") -> set[str]:
    """Return the dotted names of the settings that were given, not left to their defaults."""
    names = set[str]()
    for name in config.model_fields_set:
        value = getattr(config, name)
        inner = given_settings(value, f"{group}{name}.") if isinstance(value, Settings) else None
        names |= {f"{group}{name}"} if inner is None else inner
    return names


def validated(model: type[SettingsT], values: Mapping[str, Any]) -> SettingsT:
    """Return the settings with these values.

    Raises
    ------
    InputError
        An unknown name, or a value that breaks a rule; the message names key, value and rule.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(_first_fault(error, _known_names(model, values))) from None


def with_values(tree: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a tree of settings with ``values`` by dotted name.

    Raises
    ------
    InputError
        A name goes through a setting that is no group.
    """
    changed = dict(tree)
    for key, value in values.items():
        _put(changed, key, value)
    return changed


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"config must be a readable file; got {path} ({error.strerror}). Check the path."
        raise InputError(message) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"config must be TOML; got {path} ({error}). Repair it."
        raise InputError(message) from None


def _parse(assignment: str) -> tuple[str, Any]:
    """Return the dotted name and the value of ``KEY=VALUE``."""
    key, equals, text = (part.strip() for part in assignment.partition("="))
    if not equals or not all(key.split(".")):
        message = f"--set must be KEY=VALUE, as in train.lr=1e-3; got {assignment!r}."
        raise InputError(message)
    try:
        return key, tomllib.loads(f"value = {text}")["value"]
    except ValueError:  # not TOML, or a number of thousands of digits
        return key, text


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted name; groups on the way are copied, not changed."""
    *groups, name = key.split(".")
    for group in groups:
        inner = tree.get(group, {})
        if isinstance(inner, BaseModel):
            inner = inner.model_dump()
        if not isinstance(inner, dict):
            message = f"{key} must name a setting; {group} is a value, not a group."
            raise InputError(message)
        tree[group] = inner = dict(inner)
        tree = inner
    tree[name] = value


def _first_fault(error: ValidationError, known: Sequence[str] = ()) -> str:
    """Return the message of the first faulty setting.

    Parameters
    ----------
    known
        Dotted names of all settings, to suggest one for an unknown name.
    """
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
    rule = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    rule = _KINDS.get(first["type"], rule)
    if first["type"] == "value_error":
        return rule
    if first["type"] == "extra_forbidden":
        typed, value = name, first["input"]
        while (
            isinstance(value, dict) and value
        ):  # the group is unknown, and a setting of it was typed
            key, value = next(iter(value.items()))
            typed = f"{typed}.{key}"
        meant = _WITHOUT.get(typed) or _suggestion(typed, known) or _suggestion(name, known)
        return f"{typed} must be a known setting; got {value!r}.{meant}"
    example = _example(name, known) if first["type"] == "model_type" else ""
    value = first["input"]
    is_plain = value is None or isinstance(value, (str, Number, bytes))
    got = repr(value) if is_plain else shown(value)
    if first["type"] == "path_type":
        example = " Save it as a CSV file."
    return f"{name} must be {rule}; got {got}.{example}"


def _known_names(model: type[Settings], values: Mapping[str, Any]) -> list[str]:
    """Return the dotted names of all settings, those of the chosen method too."""
    chosen = {name: values[name] for name in ("method", "preset") if name in values}
    try:
        known = model(**chosen)
    except ValidationError:  # the method is unknown, and its message needs no suggestion
        known = model()
    return [each.name for each in settings_of(known)]


_OPTIONS = {
    each.name: found.names
    for each in settings_of(RunConfig())
    if (found := option_of(each.field)) and "." in each.name
}
"""Options of settings in groups. Their names are no settings, but may be typed as such."""


ELSEWHERE = {
    "resolution": "n_clusters",
    "k": "n_clusters",
    "random_state": "seed",
    "random_seed": "seed",
    "n_pcs": "reduce.n_comps",
    "n_components": "reduce.n_comps",
    "n_epochs": "train.epochs",
    "max_epochs": "train.epochs",
    "gpu": "device",
    "use_gpu": "device",
}
"""What other libraries call settings."""


_WITHOUT = {
    "key_added": " Names of keys are fixed, and a later result replaces them. Keep a column under a name of your own: "
    "adata.obs['first'] = adata.obs['scrcl'].",
}
"""What other libraries have as a setting, and what to do without it."""


def _in_python(name: str) -> str:
    """Return a setting, and how it is given in Python if it is in a group."""
    *groups, last = name.split(".")
    shown = f"{{{last!r}: ...}}"
    for group in reversed(groups[1:]):
        shown = f"{{{group!r}: {shown}}}"
    return f"{name}, in Python {groups[0]}={shown}" if groups else name


def _example(group: str, known: Sequence[str]) -> str:
    """Return the setting of a group that is probably meant: one that has an option if there is one."""
    inside = [each for each in known if each.startswith(f"{group}.")]
    shown = [*(each for each in inside if each in _OPTIONS), *inside][:1]
    return f" Did you mean {_in_python(shown[0])}?" if shown else ""


def _suggestion(name: str, known: Sequence[str]) -> str:
    """Return the setting that was probably meant, or all settings of the group."""
    option = f"--{name.replace('_', '-')}"
    if meant := [each for each in known if option in _OPTIONS.get(each, ())]:
        return f" Did you mean {_in_python(meant[0])}?"
    if name in ELSEWHERE:
        return f" Did you mean {_in_python(ELSEWHERE[name])}?"
    group, _, last = name.rpartition(".")
    # The same name in another group is more likely meant than a similar one in this group.
    elsewhere = [each for each in known if each.endswith(f".{last}")]
    start = f"{group}." if group else ""
    names = [each.removeprefix(start).split(".")[0] for each in known if each.startswith(start)]
    near = [f"{start}{each}" for each in get_close_matches(last, names, n=1)]
    if meant := (elsewhere if len(elsewhere) in {1, 2} else near):
        shown = meant if group else [_in_python(each) for each in meant]
        return f" Did you mean {' or '.join(shown)}?"
    return f" Known settings: {', '.join(dict.fromkeys(names))}." if names else ""
