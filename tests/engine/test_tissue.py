"""What the kind of coordinates and of values chooses in a run, up to the space in which domains are found."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from bench.spatial.patients import PATIENT, patients
from scrcl.cluster import count_domains
from scrcl.engine.load_config import load_config
from scrcl.engine.open_run import open_run
from scrcl.engine.run import run_matrix
from scrcl.engine.stages import tissue_slices
from scrcl.errors import InputError
from scrcl.io.open import from_anndata
from scrcl.prep.batch_effect import MIXED
from tests.cells import FAST, make_cells
from tests.graph.test_lattice import hexagonal, numbered, square


def tissue(points, *, n_genes=40, seed=0):
    cells = make_cells(len(points), n_genes, seed=seed)
    cells.obsm["spatial"] = np.asarray(points, np.float64)
    return cells


def run(adata, out, *, until="tissue", **settings):
    config = load_config(overrides={**FAST, "device": "cpu", "spatial": True, **settings})
    stages = run_matrix(lambda _: from_anndata(adata), out, config, until=until).stages
    return {record["name"]: record for record in stages}


def test_spots_on_a_grid_have_whole_rings_and_genes_of_unit_variance(tmp_path):
    found = run(tissue(hexagonal(n=14)), tmp_path / "spots")
    assert found["graph"]["layout"]["kind"] == "hexagonal"
    assert found["graph"]["n_neighbors"] == found["tissue"]["n_neighbors"] == 18
    assert found["reduce"]["unit_variance"]
    cells = tissue(hexagonal(n=14))
    assert found["reduce"]["depth"] == np.median(np.asarray(cells.X.sum(axis=1)))
    points = np.load(tmp_path / "spots/stages/tissue/space.npy")
    # An average is made of about 38 cells, so five of 196 share none.
    assert points.shape == (196, found["tissue"]["n_comps"]) == (196, 5)


def test_spots_of_few_pixels_are_known_by_their_rows_and_columns(tmp_path):
    row, column = numbered(14, 14).T
    pixels = np.round(5 * np.column_stack([column / 2, row * np.sqrt(0.75)]))
    cells = tissue(pixels)
    assert run(cells, tmp_path / "pixels", until="graph")["graph"]["layout"]["kind"] == "irregular"
    cells.obs["array_row"], cells.obs["array_col"] = row, column
    found = run(cells, tmp_path / "numbers", until="graph")["graph"]["layout"]
    assert found["kind"] == "hexagonal"
    assert found["pitch"] == pytest.approx(5, rel=0.01)


def test_bands_of_a_small_tissue_are_its_domains(tmp_path):
    # Of 324 averages six are independent: in more dimensions, odd corners would be more likely domains than the bands.
    x, y = np.divmod(np.arange(324), 18)
    cells = make_cells(600, 120, 3)
    codes = cells.obs["cell_type"].cat.codes.to_numpy()
    bands = cells[np.concatenate([np.flatnonzero(codes == band)[:108] for band in range(3)])].copy()
    bands.obsm["spatial"] = np.column_stack([x, y]).astype(float)
    settings = {"cluster": {"algorithm": "mixture"}, "reduce": {"n_comps": 50}, "n_clusters": 3}
    found = run(bands, tmp_path / "out", until="cluster", **settings)
    assert found["tissue"]["n_comps"] == 6
    labels = np.load(tmp_path / "out/stages/cluster/labels.npy")
    assert adjusted_rand_score(x // 6, labels) > 0.9


def test_genes_of_cells_anywhere_keep_their_variances_in_a_panel_or_selected(tmp_path):
    anywhere = np.random.default_rng(0).random((150, 2))
    panel = run(tissue(anywhere), tmp_path / "panel")
    assert panel["graph"]["layout"]["kind"] == "irregular"
    assert not panel["reduce"]["unit_variance"]
    genes = {"n_top_genes": 20}
    chosen = run(tissue(anywhere), tmp_path / "chosen", features=genes)
    assert not chosen["reduce"]["unit_variance"]
    assert (panel["features"]["flavor"], chosen["features"]["flavor"]) == ("seurat", "seurat_v3")


def test_of_many_genes_those_are_selected_that_vary_from_place_to_place(tmp_path):
    points = hexagonal(n=14)
    cells = tissue(points, n_genes=300)
    counts = np.random.default_rng(1).poisson(1.0, (len(points), 300)).astype(np.float32)
    in_layers = points[:, 1] > np.median(points[:, 1])
    counts[:, :120] += 3 * in_layers[:, None] * (np.arange(120) % 2)
    counts[:, :120] += 3 * ~in_layers[:, None] * (np.arange(120) % 2 == 0)
    cells.X = sparse.csr_matrix(counts)
    fewer = {"n_top_genes": 200}
    found = run(cells, tmp_path / "all", features=fewer, until="features")["features"]
    assert (found["flavor"], found["n_genes"]) == ("moran", 120)
    genes = np.load(tmp_path / "all/stages/features/genes.npy")
    assert np.array_equal(genes, np.arange(120))
    found = run(cells, tmp_path / "file", until="features")["features"]
    assert (found["flavor"], found["n_genes"]) == ("moran", 120)
    panel = run(cells[:, :200].copy(), tmp_path / "panel", until="features")["features"]
    assert (panel["flavor"], panel["n_genes"], panel["n_varying"]) == ("seurat", 200, 120)
    # A panel that is kept whole is measured all the same.
    table = pd.read_csv(tmp_path / "panel/stages/features/genes.csv")
    assert table["morans_i"][:120].min() > 0.2 > table["morans_i"][120:].max()
    assert "dispersions" in table
    few = {"n_top_genes": 50}
    found = run(cells, tmp_path / "few", features=few, until="features")["features"]
    assert (found["flavor"], found["n_genes"]) == ("moran", 50)
    cells.X = sparse.csr_matrix(np.random.default_rng(1).permuted(counts, axis=0))
    found = run(cells, tmp_path / "none", features=fewer, until="features")["features"]
    assert found["flavor"] == "seurat_v3"
    with pytest.raises(InputError, match=r"flavor = moran must have at least 100 genes"):
        run(cells, tmp_path / "asked", features={"flavor": "moran"}, until="features")


def test_genes_that_vary_from_place_to_place_are_in_the_result_and_the_report(tmp_path):
    points = hexagonal(n=14)
    cells = tissue(points, n_genes=40)
    counts = np.random.default_rng(1).poisson(1.0, (len(points), 40)).astype(np.float32)
    counts[:, 3] += 5 * (points[:, 1] > np.median(points[:, 1]))
    cells.X = sparse.csr_matrix(counts)
    cells.var["symbol"] = [f"Sym{i}" for i in range(40)]
    config = load_config(overrides={**FAST, "device": "cpu", "spatial": True, "n_clusters": 2})
    run_matrix(lambda _: from_anndata(cells), tmp_path / "out", config)
    result = open_run(tmp_path / "out").to_anndata()
    assert result.var["morans_i"].idxmax() == cells.var_names[3]
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "1 gene varies from place to place beyond chance." in page
    listed = page[page.index("Genes that vary from place to place") :]
    assert listed.index("Sym3<") < listed.index("Sym1")


def test_neighbours_in_expression_change_nothing_in_the_tissue(tmp_path):
    cells = tissue(square(n=12))
    for k in (4, 9):
        run(cells, tmp_path / str(k), graph={"n_neighbors": k})
    for file in ("graph/ids.npy", "tissue/space.npy"):
        four, nine = (np.load(tmp_path / k / "stages" / file) for k in "49")
        assert np.array_equal(four, nine)
    own = run(cells, tmp_path / "own", graph={"spatial_neighbors": 8})
    assert own["graph"]["n_neighbors"] == 8


def test_values_that_are_no_counts_are_taken_as_they_are(tmp_path):
    cells = tissue(np.random.default_rng(0).random((150, 2)))
    cells.X = np.log1p(cells.X.toarray() / 7)
    found = run(cells, tmp_path / "out")
    assert found["reduce"]["depth"] is None
    assert found["features"]["flavor"] == "seurat"


def test_slices_of_three_spots_in_other_units_and_a_grid_with_holes(tmp_path):
    rng = np.random.default_rng(0)
    large = square(n=12)[rng.random(144) > 0.2]
    points = np.concatenate([large, 1000 * large, square(n=2)[:3]])
    cells = tissue(points)
    sizes = [len(large), len(large), 3]
    cells.obs["slice"] = pd.Categorical(np.repeat(["a", "b", "c"], sizes))
    found = run(cells, tmp_path / "out", sample_key="slice")
    assert found["graph"]["layout"]["kind"] == "square"
    ids = np.load(tmp_path / "out/stages/graph/ids.npy")
    assert ((ids[-3:] >= 0).sum(axis=1) == 2).all()
    assert np.isfinite(np.load(tmp_path / "out/stages/tissue/space.npy")).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_missing_coordinates_of_a_spot_are_refused_before_anything_is_written(tmp_path, bad):
    points = numbered().astype(float)
    points[5] = bad
    with pytest.raises(InputError, match=r"in cell cell5\."):
        run(tissue(points), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("group", "settings"),
    [
        ("features", {"flavor": "moran"}),
        ("graph", {"spatial_neighbors": 6}),
        ("reduce", {"depth": "median"}),
        ("reduce", {"unit_variance": "yes"}),
    ],
)
def test_settings_of_a_tissue_are_refused_without_coordinates(group, settings):
    (name,) = settings
    with pytest.raises(InputError, match=rf"{group}\.{name} must .*spatial"):
        load_config(overrides={group: settings})


def two_slices(shift, *, n=3000):
    """Return cells of two slices of one tissue; the second has counts of each gene times a factor of its own."""
    rng = np.random.default_rng(1)
    cells = tissue(rng.random((n, 2)), n_genes=60)
    second = np.arange(n) % 2 == 1
    factors = np.where(second[:, None], np.exp(rng.normal(0, shift, 60)), 1)
    counts = rng.poisson(np.asarray(cells.X.todense()) * factors)
    cells.X = sparse.csr_matrix(counts.astype(np.float32))
    cells.obs["slice"] = pd.Categorical(np.where(second, "b", "a"))
    return cells


def test_a_small_shift_between_slices_is_corrected_since_averages_show_it(tmp_path):
    found = run(two_slices(0.2), tmp_path / "shifted", sample_key="slice")["correct"]
    assert found["n_corrected"] == 2
    assert found["before"]["mixing"] > MIXED  # cells without a tissue would be left as they are
    even = run(two_slices(0), tmp_path / "even", sample_key="slice")["correct"]
    assert even["left_as_is"]
    asked = run(two_slices(0.2), tmp_path / "asked", sample_key="slice", correct={"method": "none"})
    assert asked["correct"]["reason"] == "as set"


def test_slices_that_harmony_alone_cannot_join_are_moved_to_one_mean_first(tmp_path, monkeypatch):
    monkeypatch.setattr(count_domains, "_MOST_DOMAINS", 4)
    monkeypatch.setattr(tissue_slices, "_OF_ONE", 0.2)  # so any domain counts as one of a slice
    cells = patients(3, effect=1.0, seed=0, n_genes=300)
    stages = run(cells, tmp_path / "out", sample_key=PATIENT)
    assert stages["tissue"]["of_one_slice"][0] >= 2
    assert "averages were corrected once more" in stages["tissue"]["notes"][0]
    left = sorted(path.name for path in (tmp_path / "out/stages/tissue").iterdir())
    assert left == ["axes.npz", "batches.json", "correction.npz", "space.npy"]
    found = stages["correct"]
    assert found["before"]["shared"] == 0
    assert found["centred"]
    assert found["after"]["shared"] > 0.5
    assert any("moved to the mean" in note for note in found["notes"])
    plain = run(cells, tmp_path / "cells", spatial=False, batch_key=PATIENT, until="correct")
    assert not plain["correct"]["centred"]  # cells of donors may be of other types


def test_a_tissue_in_which_nothing_varies_is_one_domain(tmp_path):
    found = run(tissue(square(n=12)), tmp_path / "out", until="cluster", n_clusters="auto")
    assert found["tissue"]["is_uniform"]
    assert found["cluster"]["n_clusters"] == 1
    assert any("one domain" in note for note in found["tissue"]["notes"])
    asked = run(tissue(square(n=12)), tmp_path / "asked", n_clusters=3)
    assert asked["tissue"]["notes"] == []


def test_a_third_coordinate_that_is_the_same_everywhere_changes_nothing(tmp_path):
    points = square(n=8)
    found = run(tissue(np.column_stack([points, np.zeros(64)])), tmp_path / "out", until="graph")
    assert found["graph"]["layout"]["kind"] == "square"


def test_a_slice_at_one_place_is_refused_before_anything_is_written(tmp_path):
    points = square(n=8)
    points[40:] = 0
    cells = tissue(points)
    cells.obs["slice"] = np.repeat(["a", "b"], [40, 24])
    with pytest.raises(InputError, match="the same for all 24 of b"):
        run(cells, tmp_path / "out", sample_key="slice")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("second", "note"), [(1.0, "the coordinates of another"), (1000.0, "two units")]
)
def test_slices_without_a_sample_key_are_suspected(tmp_path, second, note):
    points = np.concatenate([square(n=8), second * square(n=8)])
    found = run(tissue(points), tmp_path / "out", until="graph")
    assert any(note in text and "`sample_key" in text for text in found["graph"]["notes"])


def test_a_domain_is_of_one_batch_if_that_has_nine_tenths_of_it():
    labels = np.repeat([0, 1, 2], [10, 10, 10])
    batches = np.concatenate(
        [np.repeat([0, 1], [9, 1]), np.repeat([0, 1], [8, 2]), np.ones(10, int)]
    )
    assert len(tissue_slices.domains_of_one_batch(labels, batches)) == 2


def test_domains_of_a_slice_that_has_nearly_all_cells_are_no_domains_of_one_slice():
    labels, batches = np.repeat([0, 1], 100), np.zeros(200, np.int32)
    batches[:3] = 1
    assert len(tissue_slices.domains_of_one_batch(labels, batches)) == 0
    batches[:100] = 1
    assert len(tissue_slices.domains_of_one_batch(labels, batches)) == 2


def test_spots_beside_the_tissue_are_told(tmp_path):
    cells = tissue(hexagonal(n=14))
    cells.obs["in_tissue"] = np.arange(cells.n_obs) >= 5
    noted = run(cells, tmp_path / "some", until="read")["read"]["notes"]
    assert any("5 of 196 spots lie outside the tissue" in note for note in noted)
    cells.obs["in_tissue"] = 1
    noted = run(cells, tmp_path / "none", until="read")["read"]["notes"]
    assert not any("outside the tissue" in note for note in noted)


def test_slices_are_the_batches_unless_others_are_named():
    def key(**settings):
        return load_config(overrides=settings).batch_key

    assert key(spatial=True, sample_key="slice") == "slice"
    assert key(spatial=True, sample_key="slice", batch_key="donor") == "donor"
    assert key(spatial=True) is None


def test_a_column_whose_slices_lie_on_top_of_each_other_is_named_with_the_option(tmp_path):
    one = np.stack(np.meshgrid(np.arange(12), np.arange(12)), axis=-1).reshape(-1, 2)
    cells = tissue(np.concatenate([one, one + 0.4]))
    cells.obs["sample"] = pd.Categorical(np.repeat(["a", "b"], 144))
    found = run(cells, tmp_path / "out", until="graph")
    (note,) = found["graph"]["notes"]
    assert note.startswith("obs['sample'] has 2 values whose coordinates overlap. If they are slic")
    assert note.endswith("`sample_key='sample'`.")
    apart = run(cells, tmp_path / "apart", until="graph", sample_key="sample")
    assert not apart["graph"]["notes"]


@pytest.mark.parametrize(
    ("column", "depth", "is_named"),
    [("donor", None, True), ("batch", None, True), ("lane", None, False), ("donor", 2.0, False)],
)
def test_scattered_cells_of_slices_in_one_place_are_told_by_what_has_a_tissue_of_its_own(
    tmp_path, column, depth, is_named
):
    points = np.random.default_rng(0).uniform(0, 12, (400, 2))
    which = np.arange(400) % 2
    if depth is not None:
        points = np.column_stack([points, depth * which])
    cells = tissue(points)
    cells.obs[column] = pd.Categorical(which.astype(str))
    notes = run(cells, tmp_path / "out", until="graph")["graph"]["notes"]
    text = f"obs[{column!r}] has 2 values whose coordinates overlap. If they are slices, run again"
    assert [note.startswith(text) for note in notes] == [True] * is_named
