"""The method of a run, ready to use: how the stages that learn reach it.

They name no method: `RunConfig.method_entry` finds it in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrcl import __version__
from scrcl.engine.device import resolve_device
from scrcl.engine.outputs import naming_damage
from scrcl.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from scrcl._contract import Opener, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.train.method import Estimates, Learner, Method
    from scrcl.train.ranks import Ranks
    from scrcl.train.setup import Setup, Work
    from scrcl.typing import OnRows

__all__ = [
    "embedding_width",
    "estimates_of",
    "method_of",
    "open_inputs",
    "require_weights_of",
    "setup_of",
    "untrained",
    "work_of",
]


def method_of(config: RunConfig) -> Method[Any, Any, Any, Any]:
    """Return the method of a run."""
    return config.method_entry.load()


def estimates_of(shape: Shape, config: RunConfig) -> Estimates:
    """Return what the stages of the method take."""
    return method_of(config).estimates(
        shape, config.method_settings, config.train, space=config.clustered_on
    )


def embedding_width(config: RunConfig) -> int:
    """Return the columns of the embedding."""
    return method_of(config).width(config.method_settings)


def open_inputs(opener: Opener, folder: Path, config: RunConfig) -> Any:
    """Open the method's inputs, written into ``folder``.

    Raises
    ------
    StoreError
        They are missing or damaged.
    """
    with naming_damage(folder, "hold the method inputs whole"):
        return method_of(config).open_inputs(opener, folder, config.method_settings)


def setup_of(config: RunConfig, *, device: str, ranks: Ranks) -> Setup[Any]:
    """Return what the method is started with."""
    from scrcl.train.setup import Setup

    return Setup(config.method_settings, config.train, config.seed, device, ranks)


def untrained(inputs: Any, config: RunConfig) -> Learner:
    """Return the learner before training, on the CPU: what weights are loaded into."""
    from scrcl.train.setup import Setup

    setup = Setup(config.method_settings, config.train, config.seed)
    learner: Learner = method_of(config).start(inputs, setup)
    return learner


def require_weights_of(
    learner: Learner, weights: Mapping[str, Any], source: Path, remedy: str
) -> None:
    """Refuse weights that do not fit the model, such as those of another version of scrcl.

    Raises
    ------
    StoreError
        They differ in names or shapes. The message ends with ``remedy``.
    """
    wrong = next(_differences(learner.state_dict(), weights), None)
    if wrong is not None:
        message = (
            f"{source} must hold the weights of the model as scrcl {__version__} has it; got {wrong}. Another version "
            f"wrote them. {remedy}"
        )
        raise StoreError(message)


def _differences(own: Mapping[str, Any], weights: Mapping[str, Any]) -> Iterator[str]:
    """Yield how weights differ from those of a model, by names and shapes."""
    yield from (f"none with the name {name}" for name in own if name not in weights)
    yield from (f"{name}, which the model does not have" for name in weights if name not in own)
    for name in own:
        shape, found = (tuple(getattr(each[name], "shape", ())) for each in (own, weights))
        if shape != found:
            yield f"{name} of shape {found}, where the model has {shape}"


def work_of(context: Context, on_rows: OnRows | None = None) -> Work:
    """Return how to go through all cells within the budget."""
    from scrcl.train.setup import Work

    config, budget = context.config, context.budget
    device = resolve_device(config.device, context.ranks.local)
    return Work(budget.dense_block_rows, budget.n_workers, device, on_rows, config.seed)
