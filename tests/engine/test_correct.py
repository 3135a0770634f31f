"""The stage `correct`: batches are corrected where they keep apart, and nothing is changed elsewhere."""

import anndata
import numpy as np
import pytest
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from scrcl._progress import Silent
from scrcl.engine.load_config import load_config
from scrcl.engine.open_run import OpenRun, open_run
from scrcl.engine.plan import plan_run
from scrcl.engine.predict import predict_files, run_for_prediction
from scrcl.engine.run import run_files
from scrcl.engine.stages import batches_apart, correct_fit
from scrcl.engine.stages.cluster_new_cells import NewClusterStage
from scrcl.engine.stages.correct import CorrectStage
from scrcl.engine.stages.correct_facts import (
    correction_notes,
    correction_overview,
    correction_sentence,
)
from scrcl.engine.stages.correct_new_cells import NewCorrectStage
from scrcl.engine.stages.features import FeaturesStage
from scrcl.engine.words import Words
from scrcl.errors import InputError
from scrcl.prep.artifacts import COMPONENTS, SELECTED_GENES
from scrcl.prep.batch_effect import MIXED
from tests.cells import FAST, make_cells


def with_donors(n_cells=400, n_donors=3, *, effect=0.6, seed=0, only=None):
    """Cells of four types whose genes have factors of their own in each donor; ``only`` names those to keep."""
    adata = make_cells(n_cells, seed=seed)
    rng = np.random.default_rng(100)
    factors = np.exp(effect * rng.normal(size=(n_donors, adata.n_vars)))
    codes = np.random.default_rng(seed + 1).integers(n_donors, size=n_cells)
    counts = np.random.default_rng(seed + 2).poisson(adata.X.toarray() * factors[codes])
    adata.X = sparse.csr_matrix(counts.astype(np.float32))
    adata.obs["donor"] = [f"donor {code}" for code in codes]
    adata.obs["lane"] = np.where(np.arange(n_cells) % 2, "left", "right")
    return adata if only is None else adata[np.isin(codes, only)].copy()


def run(adata, tmp_path, name="out", until="reduce", **settings):
    path = tmp_path / f"{name}.h5ad"
    adata.write_h5ad(path)
    config = load_config(overrides={**FAST, "n_clusters": 4, "device": "cpu", **settings})
    return run_files([path], tmp_path / name, config, until=until), config


def corrected(adata, tmp_path, name="out", **settings):
    result, config = run(adata, tmp_path, name, "correct", **settings)
    from scrcl.engine.folder import RunFolder, read_manifest
    from scrcl.engine.stages import STAGES

    return OpenRun(RunFolder(result.out, read_manifest(result.out)), STAGES, config)


def distance_of_donors(scores, obs):
    """Mean distance of the donors of a type from the mean of the type."""
    kinds, donors = obs["cell_type"].to_numpy(), obs["donor"].to_numpy()
    return np.mean([
        np.linalg.norm(scores[(kinds == k) & (donors == d)].mean(0) - scores[kinds == k].mean(0))
        for k in np.unique(kinds) for d in np.unique(donors)
    ])  # fmt: skip


def test_without_a_batch_key_the_components_are_those_of_reduce(tmp_path):
    opened = corrected(with_donors(), tmp_path)
    record = opened.record(CorrectStage)
    assert record.left_as_is
    assert record.notes == ()
    assert not list((tmp_path / "out" / "stages" / "correct").iterdir())
    scores = np.load(tmp_path / "out" / "stages" / "reduce" / "scores.npy")
    np.testing.assert_array_equal(opened.components, scores)


def test_a_batch_key_of_cell_types_is_noted_before_the_work_and_by_the_run(tmp_path):
    path, shown = tmp_path / "cells.h5ad", []
    with_donors().write_h5ad(path)

    class Seen(Silent):
        def note(self, message):
            shown.append(message)

    def notes(key, **correct):
        config = load_config(overrides={"batch_key": key, "correct": correct, "device": "cpu"})
        out = tmp_path / f"out{len(shown)}"
        result = run_files([path], out, config, until="read", reporter=Seen())
        assert tuple(result.stages[0]["notes"]) == plan_run([path], config).notes
        return plan_run([path], config).notes

    (note,) = notes("donor,cell_type")
    assert shown == [note]
    assert note.startswith("obs['cell_type'] looks like cell types, not batches. If so, leave it")
    shown.append("another folder")
    assert notes("donor") == ()
    shown.append("another folder")
    assert notes("cell_type", method="none") == ()


def test_donors_that_keep_apart_are_brought_together(tmp_path):
    adata = with_donors()
    opened = corrected(adata, tmp_path, batch_key="donor")
    record = opened.record(CorrectStage)
    plain = np.load(tmp_path / "out" / "stages" / "reduce" / "scores.npy")
    before, after = (distance_of_donors(x, adata.obs) for x in (plain, opened.components))
    assert after < 0.3 * before
    assert not record.left_as_is
    assert (record.n_batches, record.n_corrected, record.n_fitted) == (3, 3, 400)
    assert record.before.mixing < 0.9 < record.after.mixing


def test_donors_that_harmony_leaves_apart_are_shifted_where_their_types_lie_alike(tmp_path):
    adata = with_donors(n_donors=2, effect=1.5)
    opened = corrected(adata, tmp_path, batch_key="donor")
    record = opened.record(CorrectStage)
    plain = np.load(tmp_path / "out" / "stages" / "reduce" / "scores.npy")
    before, after = (distance_of_donors(x, adata.obs) for x in (plain, opened.components))
    assert after < 0.1 * before
    assert record.centred
    assert 0.5 < record.agreement <= 1
    assert record.after.shared > 0.9
    (note,) = record.notes
    assert "each batch was shifted as a whole first" in note


def test_donors_of_other_types_are_not_shifted_onto_each_other(tmp_path):
    adata = with_donors(600, 2, effect=1.5)
    is_first, of_first = adata.obs["donor"] == "donor 0", {"type 0", "type 1"}
    adata = adata[adata.obs["cell_type"].isin(of_first) == is_first].copy()
    record = corrected(adata, tmp_path, batch_key="donor").record(CorrectStage)
    assert not record.centred
    assert record.after.shared < 0.1
    (note,) = record.notes
    assert "share few regions" in note


@pytest.mark.parametrize("mixed", [MIXED, 1.0])
@pytest.mark.parametrize("sizes", [[295, 5], [150, 75, 40, 20, 8, 4, 2, 1]])
def test_random_batches_are_left_as_they_are_however_uneven(sizes, mixed):
    points = np.random.default_rng(0).normal(size=(300, 8))
    ids = NearestNeighbors(n_neighbors=16).fit(points).kneighbors(points)[1][:, 1:]
    drawn, rng = np.repeat(np.arange(len(sizes)), sizes), np.random.default_rng(1)
    for _ in range(20):
        codes = rng.permutation(drawn)
        test = batches_apart.TestedCells(np.arange(300), ids, codes, 0, mixed)
        found, apart = test.batches_to_correct(codes)
        assert not apart.differ
        assert found is codes


def test_batches_that_mix_in_groups_are_corrected_as_groups_and_named(tmp_path):
    adata = with_donors(effect=1.5, n_donors=2)
    halves = np.random.default_rng(9).integers(2, size=adata.n_obs)
    adata.obs["batch"] = [
        f"{d[-1]}{half}" for d, half in zip(adata.obs["donor"], halves, strict=True)
    ]
    record = corrected(adata, tmp_path, batch_key="batch").record(CorrectStage)
    assert (record.n_batches, record.n_corrected) == (4, 2)
    assert record.groups == (("00", "01"), ("10", "11"))
    assert record.reason.startswith(
        "groups of batches lie apart (0% of the cells outside of the largest group"
    )
    assert record.notes[0] == (
        "4 batches were corrected as 2 groups, since batches inside a group mix well (group 1: 00, 01; group 2: 10, "
        "11)."
    )
    assert correction_overview(record, Words()).startswith("Harmony, 2 groups of 4 batches: ")
    assert "neighbours from other groups that chance gives" in correction_sentence(record, Words())
    alone = record.model_copy(update={"share_alone": 0.056})
    assert (
        "no counterpart in another group of batches" in list(correction_notes(alone, Words()))[-1]
    )


@pytest.mark.parametrize("flavor", ["seurat", "seurat_v3"])
@pytest.mark.parametrize(("effect", "by_batch"), [(0, False), (0.6, True)])
def test_genes_are_selected_by_batch_where_batches_keep_apart(tmp_path, flavor, effect, by_batch):
    adata = with_donors(effect=effect)
    features = {"flavor": flavor, "n_top_genes": adata.n_vars // 2}
    plain, keyed, set_ = (
        corrected(adata, tmp_path, name, features=features, **settings)
        for name, settings in (
            ("plain", {}),
            ("keyed", {"batch_key": "donor"}),
            ("set", {"batch_key": "donor", "correct": {"method": "none"}}),
        )
    )
    genes = [one.open(SELECTED_GENES).tolist() for one in (plain, keyed, set_)]
    assert genes[0] != genes[2]
    assert genes[1] == genes[2 if by_batch else 0]
    assert [one.record(FeaturesStage).by_batch for one in (plain, keyed, set_)] == [
        False,
        by_batch,
        True,
    ]
    assert keyed.record(CorrectStage).left_as_is != by_batch
    if not by_batch:
        np.testing.assert_array_equal(keyed.components, plain.components)
    assert not list((tmp_path / "keyed" / "stages" / "features").glob("tested-*"))


def test_the_test_of_batches_for_the_genes_is_planned(tmp_path):
    with_donors().write_h5ad(tmp_path / "cells.h5ad")

    def read(**settings):
        config = load_config(overrides={"device": "cpu", **settings})
        plan = plan_run([tmp_path / "cells.h5ad"], config)
        return next(s.read_bytes for s in plan.stages if s.name == "features")

    assert read(batch_key="donor") == 2 * read()
    assert read(batch_key="donor", correct={"method": "none"}) == read()


def test_batches_without_an_effect_change_nothing(tmp_path):
    adata = with_donors(effect=0)
    opened = corrected(adata, tmp_path, batch_key="donor")
    record = opened.record(CorrectStage)
    assert record.left_as_is
    assert record.before.mixing == pytest.approx(1, abs=0.1)
    scores = np.load(tmp_path / "out" / "stages" / "reduce" / "scores.npy")
    np.testing.assert_array_equal(opened.components, scores)
    forced = corrected(adata, tmp_path, "forced", batch_key="donor", correct={"method": "harmony"})
    assert not forced.record(CorrectStage).left_as_is


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"batch_key": "donor", "correct": {"method": "none"}}, "as set"),
        ({"batch_key": "same"}, "one value"),
    ],
)
def test_what_the_settings_exclude_is_not_corrected(tmp_path, settings, reason):
    adata = with_donors()
    adata.obs["same"] = "a"
    record = corrected(adata, tmp_path, **settings).record(CorrectStage)
    assert record.left_as_is
    assert reason in record.reason
    noted = ("All cells have one value of 'same': there is nothing to correct.",)
    assert record.notes == (noted if settings["batch_key"] == "same" else ())


def test_pairs_of_cells_and_whole_numbers_are_batches(tmp_path):
    adata = with_donors()
    adata.obs["pair"] = np.arange(400) // 2
    adata.obs["number"] = np.arange(400) % 3 + 1.0
    adata.write_h5ad(tmp_path / "cells.h5ad")
    for key in ("pair", "number"):
        config = load_config(overrides={**FAST, "device": "cpu", "batch_key": key})
        stages = {stage.name for stage in plan_run([tmp_path / "cells.h5ad"], config).stages}
        assert "correct" in stages


def test_a_type_that_one_donor_has_is_kept_apart(tmp_path):
    adata = with_donors(900, effect=0.3)
    kinds = adata.obs["cell_type"].to_numpy()
    adata = adata[(kinds != "type 0") | (adata.obs["donor"] == "donor 0")].copy()
    kinds = adata.obs["cell_type"].to_numpy()
    opened = corrected(adata, tmp_path, batch_key="donor")
    record = opened.record(CorrectStage)
    assert record.share_alone == pytest.approx((kinds == "type 0").mean(), abs=0.02)
    means = {k: opened.components[kinds == k].mean(0) for k in np.unique(kinds)}
    spread = opened.components[kinds == "type 0"].std(0)
    for kind in ("type 1", "type 2", "type 3"):
        assert np.linalg.norm(means["type 0"] - means[kind]) > 3 * np.linalg.norm(spread) / 2
    assert any("no counterpart" in note for note in record.notes)


def test_large_data_is_fitted_on_a_subset_and_agrees_with_the_fit_on_all(tmp_path, monkeypatch):
    adata = with_donors(900)
    whole = corrected(adata, tmp_path, batch_key="donor")
    monkeypatch.setattr(correct_fit, "FIT_CELLS", 450)
    monkeypatch.setattr(correct_fit, "BLOCK_ROWS", 128)
    part = corrected(adata, tmp_path, "part", batch_key="donor")
    assert part.record(CorrectStage).n_fitted <= 450
    plain = np.load(tmp_path / "out" / "stages" / "reduce" / "scores.npy")
    moved = np.linalg.norm(whole.components - plain)
    assert np.linalg.norm(whole.components - part.components) < 0.15 * moved
    after = distance_of_donors(part.components, adata.obs)
    assert after < 0.3 * distance_of_donors(plain, adata.obs)
    again = corrected(adata, tmp_path, "again", batch_key="donor", memory="3GB")
    np.testing.assert_array_equal(again.components, part.components)


def test_several_columns_give_a_batch_for_each_combination(tmp_path):
    opened = corrected(with_donors(), tmp_path, batch_key="donor,lane")
    assert opened.record(CorrectStage).n_batches == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"correct": {"method": "harmony"}}, "batch_key"),
        ({"batch_key": "donor,nowhere"}, "batch_key .*'nowhere'"),
        ({"batch_key": "donor,gap"}, "batch_key .*gap.*, where cell .* has none"),
        ({"batch_key": "donor,each"}, "batch_key .*400 cells"),
        ({"batch_key": "most"}, "batch_key .*399 values for 400 cells"),
        ({"batch_key": "donor,depth"}, "batch_key .*'depth', which holds 2 .* such as 0.5.* text"),
    ],
)
def test_keys_that_give_no_batches_are_refused(tmp_path, settings, message):
    adata = with_donors()
    adata.obs["gap"] = ["x"] * 399 + [None]
    adata.obs["each"] = [f"c{i}" for i in range(400)]
    adata.obs["most"] = np.maximum(np.arange(400), 1)
    adata.obs["depth"] = np.where(np.arange(400) % 2, 0.5, 1).astype(np.float32)
    with pytest.raises(InputError, match=message):
        run(adata, tmp_path, **settings)
    assert not (tmp_path / "out").exists()


def test_batches_of_one_to_five_cells_and_a_key_that_is_the_sample_key_are_accepted(tmp_path):
    adata = with_donors()
    adata.obsm["spatial"] = np.random.default_rng(0).normal(size=(400, 2))
    names = adata.obs["donor"].to_numpy().copy()
    names[:9] = ["tiny 1", *["tiny 3"] * 3, *["tiny 5"] * 5]
    adata.obs["donor"] = names
    opened = corrected(adata, tmp_path, batch_key="donor", sample_key="donor", spatial=True)
    assert opened.record(CorrectStage).n_batches == 6
    assert np.isfinite(opened.components).all()


def test_the_plan_counts_the_correction_only_where_batches_are_named(tmp_path):
    adata = with_donors()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    rows = []
    for settings in ({}, {"batch_key": "donor"}):
        config = load_config(overrides={**FAST, "device": "cpu", **settings})
        plan = plan_run([tmp_path / "cells.h5ad"], config)
        rows.append(next(row for row in plan.stages if row.name == "correct"))
    assert (rows[0].disk_bytes, rows[0].seconds) == (0, 0)
    assert rows[1].disk_bytes == 4 * 400 * 12
    assert rows[1].peak_bytes > rows[0].peak_bytes


def test_the_plan_counts_the_division_of_large_clusters_only_where_a_run_divides(tmp_path):
    with_donors().write_h5ad(tmp_path / "cells.h5ad")

    def added(**settings):
        """Seconds that dividing adds to the stage ``cluster``."""
        seconds = []
        for smallest in (300, 0):
            asked = {**settings, "cluster": {"algorithm": "vote", "divide_cells": smallest}}
            config = load_config(overrides={**FAST, "device": "cpu", **asked})
            plan = plan_run([tmp_path / "cells.h5ad"], config)
            seconds.append(next(row.seconds for row in plan.stages if row.name == "cluster"))
        return seconds[0] - seconds[1]

    assert added() > 0
    assert added(batch_key="donor") == 0
    assert added(batch_key="donor", correct={"method": "none"}) == added()


def predicted(out, path, to):
    result = predict_files(run_for_prediction(out, {"device": "cpu"}), [path], to)
    entries = {entry["name"]: entry for entry in result.stages}
    return anndata.read_h5ad(result.result_path), entries, result.out


@pytest.mark.parametrize("effect", [0.6, 1.5])  # donors of 1.5 are shifted as a whole first
def test_new_cells_are_corrected_towards_the_run(tmp_path, effect):
    whole = with_donors(900, 4, effect=effect)
    donors = whole.obs["donor"].to_numpy()
    atlas, new = whole[donors != "donor 3"].copy(), whole[donors == "donor 3"].copy()
    new.write_h5ad(tmp_path / "new.h5ad")
    atlas[:50].copy().write_h5ad(tmp_path / "old.h5ad")
    del new.obs["donor"]
    new.write_h5ad(tmp_path / "unnamed.h5ad")
    out = run(atlas, tmp_path, until=None, batch_key="donor")[0].out
    opened = open_run(out)
    is_centred = opened.record(CorrectStage).centred
    assert is_centred == (effect > 1)
    shifted = "Before that, each batch was shifted as a whole, to the others by matched clusters."
    assert (shifted in opened.methods_text) == is_centred

    found, entries, to = predicted(out, tmp_path / "new.h5ad", tmp_path / "a")
    assert (entries["correct"]["n_known"], entries["correct"]["n_new"]) == (0, 1)
    scores = np.load(to / "stages" / "correct" / "scores.npy")
    plain = np.load(to / "stages" / "reduce" / "scores.npy")
    kinds, new_kinds = atlas.obs["cell_type"].to_numpy(), found.obs["cell_type"].to_numpy()
    before, after = (
        np.mean([
            np.linalg.norm(x[new_kinds == k].mean(0) - opened.components[kinds == k].mean(0))
            for k in np.unique(kinds)
        ])
        for x in (plain, scores)
    )  # fmt: skip
    assert after < 0.4 * before
    np.testing.assert_array_equal(found.obsm["X_pca"], scores)

    unnamed, entries, _ = predicted(out, tmp_path / "unnamed.h5ad", tmp_path / "b")
    assert any("no column donor" in note for note in entries["correct"]["notes"])
    np.testing.assert_array_equal(unnamed.obsm["X_pca"], scores)

    _, entries, to = predicted(out, tmp_path / "old.h5ad", tmp_path / "c")
    assert (entries["correct"]["n_known"], entries["correct"]["n_new"]) == (3, 0)
    again = np.load(to / "stages" / "correct" / "scores.npy")
    moved = opened.components[:50] - np.load(out / "stages" / "reduce" / "scores.npy")[:50]
    assert np.linalg.norm(again - opened.components[:50]) < 0.05 * np.linalg.norm(moved)
    assert NewCorrectStage.gives == (COMPONENTS,)


def test_cells_of_a_type_that_the_run_lacks_have_lower_confidence(tmp_path):
    whole = with_donors(900, 4, effect=0.3)
    kinds, donors = whole.obs["cell_type"].to_numpy(), whole.obs["donor"].to_numpy()
    is_new = donors == "donor 3"
    out = run(whole[~is_new & (kinds != "type 2")].copy(), tmp_path, until=None, batch_key="donor")[
        0
    ].out
    whole[is_new].copy().write_h5ad(tmp_path / "new.h5ad")
    found, _, _ = predicted(out, tmp_path / "new.h5ad", tmp_path / "a")
    medians = found.obs.groupby("cell_type", observed=True)["scrcl_familiarity"].median()
    assert medians["type 2"] < 0.5 * medians.drop("type 2").min()
    assert NewClusterStage.name == "cluster"


# Of .8, Harmony joins donors in components alone; of 1.5, these are shifted as a whole first.
@pytest.mark.parametrize(("effect", "most_left"), [(0.4, 0.5), (0.8, 0.5), (1.5, 0.14)])
def test_each_scaling_of_the_counts_is_corrected(effect, most_left, tmp_path, monkeypatch):
    from scrcl.cluster import evidence as evidence_file
    from scrcl.cluster import supported

    seen = {}

    def nearest(representations, *args):
        seen["scores"] = representations
        return nearest_of(representations, *args)

    def evidence(*args, uncorrected, **options):
        seen["uncorrected"] = uncorrected
        return evidence_of(*args, uncorrected=uncorrected, **options)

    nearest_of, evidence_of = supported.nearest_cells, evidence_file.Evidence
    monkeypatch.setattr(supported, "nearest_cells", nearest)
    monkeypatch.setattr(evidence_file, "Evidence", evidence)
    adata, by_vote = with_donors(600, effect=effect), {"algorithm": "vote"}
    run(adata, tmp_path, until="cluster", batch_key="donor", cluster=by_vote)
    before = seen["uncorrected"]
    assert len(seen["scores"]) == len(before.spaces) == 3
    assert set(before.codes) == {0, 1, 2}
    leading = before.spaces[0].shape[1]
    for after, plain in zip(seen["scores"], before.spaces, strict=True):
        left = distance_of_donors(after[:, :leading], adata.obs)
        assert left < most_left * distance_of_donors(plain, adata.obs)
    run(adata, tmp_path, "plain", until="cluster", cluster=by_vote)
    assert seen["uncorrected"] is None


def test_scalings_are_of_molecules_where_one_batch_counts_reads(tmp_path, monkeypatch):
    from scrcl.cluster import evidence as evidence_file

    seen, evidence_of = {}, evidence_file.Evidence

    def evidence(*args, uncorrected, **options):
        seen["uncorrected"] = uncorrected
        return evidence_of(*args, uncorrected=uncorrected, **options)

    monkeypatch.setattr(evidence_file, "Evidence", evidence)
    adata = with_donors(400, 2, effect=0.5)
    reads, rng = adata.X.tocsr(), np.random.default_rng(3)
    is_reads = np.repeat((adata.obs["donor"] == "donor 1").to_numpy(), np.diff(reads.indptr))
    reads.data[is_reads] *= np.rint(300 * np.exp(rng.normal(0, 0.7, is_reads.sum())))
    adata.X = reads
    run(adata, tmp_path, until="cluster", batch_key="donor", cluster={"algorithm": "vote"})
    residuals, codes = seen["uncorrected"].spaces[2], seen["uncorrected"].codes
    spreads = [residuals[codes == donor].std(axis=0).mean() for donor in (0, 1)]
    assert max(spreads) < 2.5 * min(spreads)


def test_one_batch_of_several_that_keeps_apart_is_named_as_the_reason(tmp_path, monkeypatch):
    from scrcl.prep import batch_effect

    effect = batch_effect.BatchEffect(0.5, 0.01, 0.02)
    monkeypatch.setattr(batch_effect, "_one_apart", lambda *_: (2, effect))
    monkeypatch.setattr(batch_effect, "are_random", lambda *_: False)
    record = corrected(with_donors(effect=0), tmp_path, batch_key="donor").record(CorrectStage)
    reason = "batch 'donor 2' mixes less with the others than by chance"
    assert (record.reason, record.n_corrected, record.groups) == (reason, 3, ())
    assert (record.one, record.before.mixing) == ("donor 2", 0.5)
    assert record.after.shared > 0.9  # as the cells of this donor had been all along
    assert "Before it, its cells had 50% of" in correction_sentence(record, Words())
    (note, *_) = record.notes
    assert note.startswith("Batch 'donor 2' shares few regions with the others (2% of its cells")


def test_clusters_of_corrected_cells_are_not_divided(tmp_path, monkeypatch):
    from scrcl.cluster import supported

    divided, divide = [], supported.divide_large

    def divide_large(*args, **options):
        divided.append(True)
        return divide(*args, **options)

    monkeypatch.setattr(supported, "divide_large", divide_large)
    adata, options = (
        with_donors(600, effect=0.4),
        {"n_clusters": "auto", "cluster": {"algorithm": "vote"}},
    )
    run(adata, tmp_path, until="cluster", batch_key="donor", **options)
    assert not divided
    run(adata, tmp_path, "plain", until="cluster", **options)
    assert divided
