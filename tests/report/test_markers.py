import numpy as np
import pandas as pd
import pytest

from scrcl.io.open import from_anndata
from scrcl.prep.feature_store import write_features
from scrcl.report.markers import cluster_sums, rank_markers
from tests.cells import make_cells


def test_markers_are_those_of_scanpys_t_test(tmp_path):
    import scanpy as sc

    adata = make_cells(n_cells=150, n_genes=40, n_types=3)
    store = write_features(
        from_anndata(adata).x(64),
        tmp_path,
        retained=np.ones(150, dtype=bool),
        genes=np.arange(40),
        already_log=False,
    )
    labels = adata.obs["cell_type"].cat.codes.to_numpy().astype(np.int64)
    found = rank_markers(cluster_sums(store, labels), adata.var_names, n_top=40)

    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.obs["cluster"] = pd.Categorical([str(label) for label in labels])
    sc.tl.rank_genes_groups(adata, "cluster", method="t-test", tie_correct=False, pts=True)
    shares = adata.uns["rank_genes_groups"]
    for cluster in range(3):
        theirs = sc.get.rank_genes_groups_df(adata, str(cluster)).set_index("names")
        mine = found[found["cluster"] == cluster].set_index("gene")
        for ours, its in (("share_in", "pts"), ("share_out", "pts_rest")):
            expected = shares[its].loc[mine.index, str(cluster)]
            np.testing.assert_allclose(mine[ours], expected, rtol=1e-5)
        assert mine.index[:5].tolist() == theirs.index[:5].tolist()
        for ours, its in (("score", "scores"), ("log_fold_change", "logfoldchanges")):
            assert mine[ours].to_numpy() == pytest.approx(
                theirs.loc[mine.index, its].to_numpy(), rel=2e-3, abs=1e-3
            )
