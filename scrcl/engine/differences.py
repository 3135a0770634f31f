"""How the settings of a run, and its input, differ from those that are asked for, in names and in words."""

from __future__ import annotations

import re
from typing import Any

from scrcl.io.identity import is_in_memory

__all__ = ["difference", "differing"]

_HASH = re.compile("[0-9a-f]{32}")


def differing(found: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Return the dotted names of the settings that differ."""
    a, b = _flat(found), _flat(asked)
    return [key for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]


def difference(found: dict[str, Any], asked: dict[str, Any], but: tuple[str, ...] = ()) -> str:
    """Return in words what differs: the first setting, or else the input, or contents; ``but`` are not compared.

    Empty: nothing does.
    """
    a, b = _flat(found), _flat(asked)
    changed = [
        key
        for key in differing(found, asked)
        if not any(f"{key}.".startswith(f"{name}.") for name in but)
    ]
    of_input = [key for key in changed if key.startswith("input.")]
    contents = [key for key in changed if _is_hash(a.get(key)) or _is_hash(b.get(key))]
    for key in changed:
        if key not in of_input and key not in contents:
            return f"{key} is {a.get(key)!r} there and {b.get(key)!r} here"
    if of_input:
        return _of_inputs(found["input"], asked["input"])
    return f"{contents[0]} changed" if contents else ""


def _is_hash(value: object) -> bool:
    """Return whether a value stands for a content, and says nothing to a reader."""
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
