"""What all groups of settings share: checks, command line options and the values that a setting allows.

A setting is declared once, as a field of a `Settings` class. Its description, default and bounds serve the check, the
option, the help, ``scrcl settings`` and the TOML template.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    get_args,
    get_origin,
)

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import ValidationInfo

__all__ = [
    "Gone",
    "Rule",
    "Setting",
    "Settings",
    "allowed",
    "auto_or_share",
    "auto_or_whole",
    "choices",
    "option",
    "option_of",
    "settings_of",
]

_BOUNDS: dict[type, tuple[str, str]] = {
    Gt: ("gt", "above"),
    Ge: ("ge", "at least"),
    Lt: ("lt", "below"),
    Le: ("le", "at most"),
}
_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", Path: "a path"}


class Gone(NamedTuple):
    """A setting that earlier versions had."""

    name: str
    without: Any
    """the value at which it had no effect"""
    message: str
    """for another value: what to do in its place"""


class Settings(BaseModel):
    """A group of settings: frozen, checked when made, without unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    gone: ClassVar[tuple[Gone, ...]] = ()
    """Settings of earlier versions. Files that leave them without effect can still be read."""
    several: ClassVar[frozenset[str]] = frozenset()
    """Settings that are several texts with commas. Lists of texts mean the same."""

    def check_with(self, run: Any) -> None:
        """Refuse settings of this group that other settings of the run leave without effect.

        Raises
        ------
        ValueError
            With the message for the user.
        """

    def asks_for_batches(self) -> str:
        """Return which setting of this group needs batches, as ``name = value``; empty if none does."""
        return ""

    @model_validator(mode="before")
    @classmethod
    def _without_gone(cls, values: Any) -> Any:
        """Leave out settings that are gone, and refuse them where they had an effect."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        for name, without, message in cls.gone:
            if values.pop(name, without) != without:
                raise ValueError(message)
        return values

    @field_validator("*", mode="before")
    @classmethod
    def _list_as_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Return a list of texts as one text with commas, where a setting is several."""
        is_list = isinstance(value, (list, tuple)) and len(value) > 0
        if info.field_name not in cls.several or not is_list:
            return value
        if any(not isinstance(part, str) or "," in part for part in value):
            raise PydanticCustomError("texts_type", "texts without commas")
        return ",".join(value)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where pydantic would read them as 1 and 0.

        Settings with a `Rule`, such as ``auto`` or a number, check this themselves.
        """
        if isinstance(value, bool) and info.field_name is not None:
            annotation = cls.model_fields[info.field_name].annotation
            kinds = set(get_args(annotation) or (annotation,)) - {NoneType}
            if kinds == {int}:
                raise PydanticCustomError("whole_number_type", "a whole number")
            if kinds == {float}:
                raise PydanticCustomError("number_type", "a number")
        return value


@dataclass(frozen=True)
class Option:
    """The command line option of a setting.

    Attributes
    ----------
    names
        As typed, for example ``("--knn",)``; the first one is the usual one.
    panel
        Heading of the help under which it is listed.
    """

    names: tuple[str, ...]
    panel: str


def option(default: Any, *names: str, panel: str, description: str, **constraints: Any) -> Any:
    """Declare a setting that has an option on the command line.

    Parameters
    ----------
    default, description, **constraints
        As for `pydantic.Field`; the description is also the option's help.
    names
        Names of the option, for example ``"--knn"``.
    panel
        Heading of the help under which the option is listed.
    """
    extra: Any = {"option": {"names": list(names), "panel": panel}}
    return Field(default, description=description, json_schema_extra=extra, **constraints)


def option_of(field: FieldInfo) -> Option | None:
    """Return the option that a setting declares by `option`; None if it has none."""
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or "option" not in extra:
        return None
    declared: Any = extra["option"]
    return Option(tuple(declared["names"]), declared["panel"])


class Setting(NamedTuple):
    """One setting of a configuration.

    Attributes
    ----------
    name
        Dotted, for example ``graph.recall``.
    value
        The default as declared (``"4GB"``) if the setting was not given.
    """

    name: str
    field: FieldInfo
    value: Any


def settings_of(config: Settings, group: str = "") -> Iterator[Setting]:
    """Yield every setting of a configuration, also of its groups, in the order of declaration.

    Groups may be extra fields, which only the configuration itself has: those of a method, for example.
    """
    for name, value in config:
        if isinstance(value, Settings):
            yield from settings_of(value, f"{group}{name}.")
            continue
        field = type(config).model_fields[name]
        is_given = name in config.model_fields_set
        shown = value if is_given else field.get_default(call_default_factory=True)
        yield Setting(f"{group}{name}", field, shown)


@dataclass(frozen=True, kw_only=True)
class Rule(BeforeValidator):
    """The check of a setting.

    Attributes
    ----------
    func
        Takes the given value; returns the checked one or raises ValueError.
    allowed
        The allowed values in words.
    words
        Allowed words, which the shell completes.
    """

    allowed: str = ""
    words: tuple[str, ...] = ()


def auto_or_whole(name: str, *, least: int, most: int | None = None) -> Rule:
    """Return the check of a setting that is ``auto`` or a whole number (also of NumPy, or as text)."""
    bounds = f"of at least {least}" if most is None else f"from {least} to {most:,}"
    allowed = f"auto or a whole number {bounds}"

    def checked(value: object) -> int | str:
        if value == "auto":
            return "auto"
        number = _whole(value)
        if number is not None and number >= least and (most is None or number <= most):
            return number
        message = f"{name} must be {allowed}; got {value!r}."
        raise ValueError(message)

    return Rule(checked, allowed=allowed, words=("auto",))


def auto_or_share(name: str) -> Rule:
    """Return the check of a setting that is ``auto`` or a number above 0 and at most 1 (also of NumPy, or as text)."""
    allowed = "auto or a number above 0 and at most 1"

    def checked(value: object) -> float | str:
        if value == "auto":
            return "auto"
        try:
            number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if 0 < number <= 1:
            return number
        message = f"{name} must be {allowed}; got {value!r}."
        raise ValueError(message)

    return Rule(checked, allowed=allowed, words=("auto",))


def _whole(value: object) -> int | None:
    """Return a whole number, also from text as on the command line; None for all else."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"-?[0-9]{1,20}", value) else None
    return None if isinstance(value, bool) or not isinstance(value, Integral) else int(value)


def choices(field: FieldInfo) -> list[str]:
    """Return the words that a setting allows, for example ``["inner", "outer"]``; others may be allowed too."""
    return _choices(field.annotation, field.metadata)


def allowed(field: FieldInfo) -> str:
    """Describe the values that a setting allows, for example ``a number above 0``."""
    return _allowed(field.annotation, field.metadata)


def _allowed(annotation: Any, metadata: Iterable[Any]) -> str:
    annotation, metadata = _plain(annotation, metadata)
    rules = [each.allowed for each in metadata if isinstance(each, Rule)]
    if rules:
        return rules[0]
    if annotation is bool:
        return "true or false"
    if get_origin(annotation) is Literal:
        *first, last = _choices(annotation, ())
        return f"{', '.join(first)} or {last}" if first else last
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    if NoneType in get_args(annotation):
        return f"{_allowed(kinds[0], metadata)} or unset"
    if get_origin(annotation) is tuple:
        return f"a list, each {_allowed(kinds[0], ())}"
    bounds = " and ".join(_bounds(metadata))
    kind = _KINDS.get(annotation, "a value")
    return f"{kind}{' of' if bounds.startswith('at ') else ''} {bounds}" if bounds else kind


def _choices(annotation: Any, metadata: Iterable[Any]) -> list[str]:
    annotation, metadata = _plain(annotation, metadata)
    rules = [each.words for each in metadata if isinstance(each, Rule)]
    if rules:
        return list(rules[0])
    if get_origin(annotation) is Literal:
        return list(map(str, get_args(annotation)))
    return [word for kind in get_args(annotation) for word in _choices(kind, ())]


def _plain(annotation: Any, metadata: Iterable[Any]) -> tuple[Any, list[Any]]:
    """Return a type and what is known of it: inside a union or a list, `Annotated` holds both."""
    if get_origin(annotation) is not Annotated:
        return annotation, [*metadata]
    return annotation.__origin__, [*annotation.__metadata__, *metadata]


def _bounds(metadata: Iterable[Any]) -> list[str]:
    bounds = []
    for each in metadata:
        if isinstance(each, FieldInfo):  # of the items of a list
            bounds += _bounds(each.metadata)
        elif type(each) in _BOUNDS:
            attribute, words = _BOUNDS[type(each)]
            value = getattr(each, attribute)
            bounds.append(f"{words} {'2^63' if value == 2**63 else format(value, ',')}")
    return bounds
