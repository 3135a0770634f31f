"""A run that is redone from a stage: what is kept, which settings may differ, and what to advise where others do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrcl._progress import Silent
from scrcl._settings import settings_of
from scrcl.engine.differences import is_within
from scrcl.engine.folder import Again, read_manifest
from scrcl.engine.load_config import given_settings, load_config, with_given
from scrcl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scrcl._progress import Reporter
    from scrcl.engine.config import RunConfig
    from scrcl.engine.stage import Stage

__all__ = ["advice_to_redo", "kept_from", "settings_to_redo"]


def settings_to_redo(
    out: Path,
    given: RunConfig,
    stages: Sequence[Stage[Any]],
    *,
    start: str | None,
    restart: bool,
    reporter: Reporter | None = None,
) -> RunConfig:
    """Return the settings of a run that is redone from a stage: those of its ``config.toml`` where not ``given``.

    Without a stage to start from, those that are given. The others are noted where they are no defaults.

    Raises
    ------
    ScrclError
        ``out`` holds no run, its settings cannot be read, or the given ones do not fit them.
    """
    again = kept_from(stages, start, restart=restart)
    if again is None:
        return given
    read_manifest(out)
    config = with_given(load_config(out / "config.toml").model_dump(exclude_unset=True), given)
    if earlier := _from_earlier(config, given, again):
        (reporter or Silent()).note(f"From the earlier run: {', '.join(earlier)}.")
    return config


def kept_from(stages: Sequence[Stage[Any]], start: str | None, *, restart: bool) -> Again | None:
    """Return what is kept of a run that is redone from the stage named; None where none is.

    Raises
    ------
    InputError
        No run can be redone from that stage, or all of it is started over.
    """
    if start is None:
        return None
    if restart:
        message = "start must go without `restart`, which keeps nothing; got both. Leave one out."
        raise InputError(message)
    ready = [stage.name for stage in stages if stage.redo_settings]
    if start not in ready:
        message = f"start must be {' or '.join(ready)}; got {start!r}. Use `restart=True` to redo earlier stages."
        raise InputError(message)
    names = [stage.name for stage in stages]
    first = names.index(start)
    return Again(start, tuple(names[:first]), _free(stages[first:]))


def advice_to_redo(
    stages: Sequence[Stage[Any]],
) -> Callable[[Sequence[str], Sequence[str]], str]:
    """Return a function that advises how to redo a run, given the settings that differ and the finished stages."""

    def advice(differing: Sequence[str], finished: Sequence[str]) -> str:
        for first in reversed([i for i, stage in enumerate(stages) if stage.redo_settings]):
            free = _free(stages[first:])
            if differing and all(is_within(name, free) for name in differing):
                again = f'use `start="{stages[first].name}"`: the trained model is kept.'
                if all(stage.name in finished for stage in stages[:first]):
                    return f" Or {again}"
                return f" Or run it to the end with the settings that it has, and then {again}"
        return ""

    return advice


def _free(stages: Sequence[Stage[Any]]) -> tuple[str, ...]:
    """Return the settings that no stage before these reads."""
    return tuple(name for stage in stages for name in stage.redo_settings)


def _from_earlier(config: RunConfig, given: RunConfig, again: Again) -> list[str]:
    """Return the settings that could be given now, and have values of the earlier run that are not the defaults."""
    usual = {each.name: each.value for each in settings_of(type(config)(method=config.method))}
    asked = given_settings(given)
    return [
        f"{each.name} = {each.value}"
        for each in settings_of(config)
        if each.name not in asked
        and each.value != usual[each.name]
        and is_within(each.name, again.settings)
    ]
