"""What the header of the input and the settings tell before anything is read: settings that cannot be met."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.errors import InputError

if TYPE_CHECKING:
    from scrcl.engine.config import RunConfig
    from scrcl.io.matrix import CellMatrix

__all__ = ["check_input"]


def check_input(matrix: CellMatrix, config: RunConfig) -> None:
    """Refuse from the header what could only fail later."""
    k, padded = config.graph.n_neighbors, config.sample_key or config.graph.balanced
    if matrix.n_obs <= k and not padded:
        message = (
            f"graph.n_neighbors must be less than the number of cells ({matrix.n_obs}); got {k}. "
            "Set graph.n_neighbors lower, or give more cells."
        )
        raise InputError(message)
    if config.n_clusters != "auto" and config.n_clusters > matrix.n_obs:
        message = (
            f"n_clusters must be at most the number of cells ({matrix.n_obs}); "
            f"got {config.n_clusters}. Give a smaller number, or auto."
        )
        raise InputError(message)
    if max(config.cluster.also, default=0) > matrix.n_obs:
        message = (
            f"cluster.also must be at most the number of cells ({matrix.n_obs}); "
            f"got {max(config.cluster.also)}. Give smaller numbers."
        )
        raise InputError(message)
    if config.genes.source == "gram":
        _check_gram(matrix, config)


def _check_gram(matrix: CellMatrix, config: RunConfig) -> None:
    from scrcl.prep.randomized_pca import GRAM_GENES, uses_gram

    n_genes = min(config.features.n_top_genes, matrix.n_vars)
    if not uses_gram(config.reduce.solver, n_genes):
        message = (
            f'genes.source must be "sketch" where no Gram matrix is made; got "gram" with '
            f"{n_genes} genes and reduce.solver={config.reduce.solver}. Set reduce.solver=gram, or "
            f"keep at most {GRAM_GENES} genes."
        )
        raise InputError(message)
