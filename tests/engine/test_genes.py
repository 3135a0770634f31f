import json

import numpy as np
import pytest
from scipy import sparse

from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from scrcl.errors import InputError
from scrcl.graph.csr import Graph, connectivities
from scrcl.prep.feature_store import FeatureStore
from tests.cells import FAST
from tests.reference_graph import adjacency, gene_distances


def genes_of(cells, out, until="genes", **overrides):
    """Run up to the gene graph; returns its adjacency and the record of its stage."""
    config = load_config(overrides={**FAST, "device": "cpu", **overrides})
    run_files([cells], out, config, until=until)
    stages = json.loads((out / "run.json").read_text())["stages"]
    record = next(stage for stage in stages if stage["name"] == "genes")
    return connectivities(Graph.load(out / "stages" / "genes" / "csr")).toarray(), record


def values_of(out):
    return sparse.vstack([rows for _, rows in FeatureStore(out / "stages" / "features")])


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "correlation"])
def test_a_gene_graph_from_the_gram_matrix_is_that_of_all_cells(cells, tmp_path, metric):
    genes = {"metric": metric, "source": "gram", "n_neighbors": 4}
    found, record = genes_of(cells, tmp_path / "gram", genes=genes)
    away = gene_distances(values_of(tmp_path / "gram").toarray(), metric) + np.diag([np.inf] * 150)
    assert np.array_equal(found, adjacency(np.argsort(away, axis=1)[:, :4]))
    sketched, other = genes_of(cells, tmp_path / "sketch", genes={**genes, "source": "sketch"})
    assert not np.array_equal(found, sketched)
    assert 0.1 < record["sketch_overlap"] == other["sketch_overlap"] < 1
    assert (record["metric"], record["source"]) == (metric, "gram")
    assert record["n_genes_undefined"] == 0


def test_the_agreement_with_all_cells_grows_with_the_components(cells, tmp_path):
    agreed = [
        genes_of(cells, tmp_path / str(n), genes={"metric": "cosine"}, reduce={"n_comps": n})[1]
        for n in (5, 40, 150)
    ]
    few, more, whole = (record["sketch_overlap"] for record in agreed)
    assert few < more < whole
    assert whole > 0.99


def test_without_a_gram_matrix_agreement_is_unknown_and_all_cells_cannot_be_the_source(
    cells, tmp_path
):
    reduce = {"solver": "randomized", "n_comps": 12}
    _, record = genes_of(cells, tmp_path / "out", reduce=reduce)
    assert record["sketch_overlap"] is None
    with pytest.raises(InputError, match=r"genes\.source .*got .gram. with 150"):
        genes_of(cells, tmp_path / "refused", reduce=reduce, genes={"source": "gram"})
    assert not (tmp_path / "refused").exists()


def test_the_report_names_what_genes_are_compared_by(cells, tmp_path):
    out = tmp_path / "out"
    genes_of(cells, out, until=None, genes={"metric": "cosine"}, n_clusters=4)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "edges between genes with similar loadings on the components (cosine)" in page
