"""How the settings of a run, and its input, differ from those that are asked for, in names and in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from scrcl.io.identity import is_in_memory

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["difference", "differing", "is_within"]

_HOW_READ = ("layer", "join")
_CAUSES = ("one_tissue", "sample_key")
"""Settings that others follow: samples are the batches where none are named."""
_HASH = re.compile("[0-9a-f]{32}")


def differing(found: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Return the dotted names of the settings that differ."""
    a, b = _flat(found), _flat(asked)
    return [key for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]


def is_within(name: str, others: Iterable[str]) -> bool:
    """Return whether a dotted name is one of the others, or lies in a group that is one."""
    return any(f"{name}.".startswith(f"{other}.") for other in others)


def difference(found: dict[str, Any], asked: dict[str, Any], but: tuple[str, ...] = ()) -> str:
    """Return in words what differs, without settings in ``but``; empty if nothing does.

    One difference is named: the input, else the first setting, else the content of a file. A user who gives another
    input seldom means to change settings.
    """
    a, b = _flat(found), _flat(asked)
    changed = [key for key in differing(found, asked) if not is_within(key, but)]
    of_input = any(key.startswith("input.") for key in changed)
    contents = [key for key in changed if _is_hash(a.get(key)) or _is_hash(b.get(key))]
    settings = [key for key in changed if not key.startswith("input.") and key not in contents]
    # A setting that says how the input is read changes its identity too; then the setting is the cause.
    how_read = [key for key in settings if key in _HOW_READ]
    if of_input and not how_read:
        return _of_inputs(found["input"], asked["input"])
    if settings:
        causes = [key for key in _CAUSES if key in settings]
        key = (how_read or causes or settings)[0]
        return f"`{key}` is {_said(a.get(key))} there and {_said(b.get(key))} here"
    return f"{contents[0]} changed" if contents else ""


def _said(value: object) -> str:
    """Return a value of a setting in words."""
    return "not given" if value is None else repr(value)


def _is_hash(value: object) -> bool:
    """Return whether a value is the hash of a content, which tells a reader nothing."""
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _of_inputs(found: dict[str, Any], asked: dict[str, Any]) -> str:
    """Return how two inputs differ, by their identities."""
    there, here = _described(found), _described(asked)
    if there == here:
        return "the content of its input changed"
    return f"its input is {there} there and {here} here"


def _described(identity: dict[str, Any]) -> str:
    if "samples" in identity:
        what = f"{len(identity['samples'])} inputs"
    else:
        what = "an AnnData in memory" if is_in_memory(identity) else "a file"
    size = "of {:,} cells and {:,} genes".format(*identity["shape"])
    layer = identity.get("layer")
    return f"{what} {size}" if layer is None else f"the layer {layer!r} of {what} {size}"


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return flat
