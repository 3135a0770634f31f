"""scVI's latent space, with the default settings of scvi-tools.

``python -m bench.accuracy.scvi INPUT --seed S --out latent.npy``: trained on the counts of the genes that the other
peers use, for the number of epochs that scvi-tools chooses.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.accuracy.peer_genes import COUNTS, selected

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["latent", "missing"]


def missing(methods: Iterable[str]) -> str | None:
    """Return a message about what these methods need and is not installed; None where all is there."""
    asked = [method for method in methods if method.startswith("scvi")]
    if not asked or find_spec("scvi") is not None:
        return None
    return (
        f"methods {', '.join(asked)} need scvi-tools, which is not installed. "
        "Install it (pip install '.[peers]'), or name other methods."
    )


def latent(path: Path, *, seed: int, batch: str | None = None) -> Any:
    """Return the latent means of the cells: float32, shape (n_cells, 10). ``batch`` is a column of obs.

    A cell without counts in the selected genes has no library size. It is left out of training, and gets 0, the mean
    of the prior.
    """
    import scvi

    scvi.settings.seed = seed
    adata = selected(path)
    counted = np.asarray(adata.layers[COUNTS].sum(axis=1)).ravel() > 0
    some = adata[counted].copy()
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        scvi.settings.logging_dir = folder
        scvi.model.SCVI.setup_anndata(some, layer=COUNTS, batch_key=batch)
        model = scvi.model.SCVI(some)
        model.train(enable_progress_bar=False)
        found = model.get_latent_representation()
    points = np.zeros((adata.n_obs, found.shape[1]), np.float32)
    points[counted] = found
    return points


def main() -> None:
    """Train on one file and write the latent means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", help="column of obs with the batches")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lacking = missing(["scvi"])
    if lacking:
        parser.error(lacking)
    np.save(args.out, latent(args.input, seed=args.seed, batch=args.batch))


if __name__ == "__main__":
    main()
