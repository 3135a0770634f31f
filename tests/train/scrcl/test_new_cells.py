import numpy as np
import pytest
from scipy import sparse

from scrcl.graph.csr import normalized_adjacency
from scrcl.graph.links import Links
from scrcl.train.methods.scrcl.embed import embed_all
from scrcl.train.methods.scrcl.inputs import Inputs
from scrcl.train.methods.scrcl.new_cells import UnseenEncoder
from tests.train.data import fresh, make_inputs, setup


@pytest.mark.parametrize(("mlp", "gcn"), [(0, 0), (2, 0), (0, 2), (1, 2)])
def test_a_cell_with_the_links_that_it_has_in_the_graph_gets_its_own_embedding(tmp_path, mlp, gcn):
    plain = make_inputs()
    adjacency = normalized_adjacency(plain.graph)
    levels = [plain.x]
    for _ in range(3):
        levels.append(adjacency @ levels[-1])
    inputs = Inputs(levels[mlp], levels[gcn + 1], plain.genes, plain.graph)
    model = fresh(inputs, setup()).learner.model
    embed_all(model, inputs, tmp_path)

    cells = np.array([3, 50, 7])
    rows = adjacency[cells].tolil()
    own = np.array([rows[i, cell] for i, cell in enumerate(cells)], np.float32)
    for i, cell in enumerate(cells):
        rows[i, cell] = 0
    weights = rows.tocsr()
    nodes = np.unique(weights.indices)
    links = Links(nodes.astype(np.int64), sparse.csr_matrix(weights[:, nodes]), own)
    encoder = UnseenEncoder(model, inputs.genes, smoothing_mlp=mlp, smoothing_gcn=gcn)
    assert encoder.n_levels == max(mlp, gcn + 1)
    known = [level[nodes] for level in levels[: encoder.n_levels]]
    found = encoder.embed(plain.x[cells], known, inputs.ax[nodes], links)
    np.testing.assert_allclose(
        found.embedding, np.load(tmp_path / "embedding.npy")[cells], atol=1e-5
    )
    np.testing.assert_allclose(found.refined, np.load(tmp_path / "refined.npy")[cells], atol=1e-5)


def test_the_embedding_of_a_new_cell_does_not_depend_on_other_new_cells():
    inputs = make_inputs()
    model = fresh(inputs, setup()).learner.model
    encoder = UnseenEncoder(model, inputs.genes, smoothing_mlp=0, smoothing_gcn=0)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4, 7)).astype(np.float32)
    weights = sparse.random(4, 90, 0.1, random_state=0, dtype=np.float32, format="csr")
    own = np.full(4, 0.2, np.float32)
    together = encoder.embed(rows, [inputs.x], inputs.ax, Links(np.arange(90), weights, own))
    for i in range(4):
        links = Links(np.arange(90), weights[i], own[[i]])
        alone = encoder.embed(rows[[i]], [inputs.x], inputs.ax, links)
        np.testing.assert_allclose(alone.embedding[0], together.embedding[i], atol=1e-6)
