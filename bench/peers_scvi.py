"""scVI's latent space, with the default settings of scvi-tools.

``python -m bench.peers_scvi INPUT --seed S --out latent.npy``: trained on the counts of the genes that the other
peers see, for as many epochs as scvi-tools takes by itself.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.peers_selected import COUNTS, selected

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["latent", "missing"]


def missing(methods: Iterable[str]) -> str | None:
    """Say what must be installed for these methods and is not; None where all is there."""
    asked = [method for method in methods if method.startswith("scvi")]
    if not asked or find_spec("scvi") is not None:
        return None
    return (
        f"methods {', '.join(asked)} must have scvi-tools; it is not installed. "
        "Install it (pip install '.[peers]'), or name other methods."
    )


def latent(path: Path, *, seed: int) -> Any:
    """Latent means of the cells, float32 of shape (n_cells, 10).

    A cell without counts among the chosen genes has no size that scVI could take: it is not trained on, and lies
    at 0, the mean of the prior.
    """
    import scvi

    scvi.settings.seed = seed
    adata = selected(path)
    seen = np.asarray(adata.layers[COUNTS].sum(axis=1)).ravel() > 0
    some = adata[seen].copy()
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        scvi.settings.logging_dir = folder
        scvi.model.SCVI.setup_anndata(some, layer=COUNTS)
        model = scvi.model.SCVI(some)
        model.train(enable_progress_bar=False)
        found = model.get_latent_representation()
    points = np.zeros((adata.n_obs, found.shape[1]), np.float32)
    points[seen] = found
    return points


def main() -> None:
    """Train on one file and write the latent means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lacking = missing(["scvi"])
    if lacking:
        parser.error(lacking)
    np.save(args.out, latent(args.input, seed=args.seed))


if __name__ == "__main__":
    main()
