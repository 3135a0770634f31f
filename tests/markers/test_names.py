"""Tables of marker genes in the layouts that people have, and names of clusters by them."""

import numpy as np
import pandas as pd
import pytest

from scrcl.errors import InputError
from scrcl.markers.names import UNKNOWN, gene_names, name_clusters
from scrcl.markers.profiles import Profiles
from scrcl.markers.tables import MarkerSet, read_marker_table

WANTED = {"B cell": ("MS4A1", "CD79A"), "T cell": ("CD3D", "CD3E")}

LAYOUTS = {
    "own.csv": "gene,cell_type\nMS4A1,B cell\nCD79A,B cell\nCD3D,T cell\nCD3E,T cell\n",
    "signs.csv": "gene,cell_type,sign\nMS4A1,B cell,positive\nCD79A,B cell,positive\nCD3D,B cell,negative\n"
    "CD3D,T cell,positive\nCD3E,T cell,positive\n",
    "sets.gmt": "B cell\tsource\tMS4A1\tCD79A\nT cell\t\tCD3D\tCD3E\t\n",
    "panglao.tsv": "species\tofficial gene symbol\tcell type\tnicknames\torgan\n"
    "Mm Hs\tMS4A1\tB cell\tCD20\tBlood\nHs\tCD79A\tB cell\t\tBlood\nMm Hs\tCD3D\tT cell\t\tBlood\n"
    "Hs\tCD3E\tT cell\t\tBlood\nMm\tXist\tMouse cell\t\tBlood\nHs\tINS\tBeta cell\t\tPancreas\n",
    "cellmarker1.txt": "speciesType\ttissueType\tcancerType\tcellType\tcellName\tcellMarker\tgeneSymbol\n"
    "Human\tBlood\tNormal\tNormal cell\tB cell\tCD20\tMS4A1, [CD79A]\n"
    "Human\tBlood\tNormal\tNormal cell\tT cell\tCD3\tCD3D, CD3E, NA\n",
    "cellmarker2.csv": "species,tissue_class,tissue_type,cell_type,cell_name,marker,Symbol\n"
    "Human,Blood,Blood,Normal cell,B cell,CD20,MS4A1\nHuman,Blood,Blood,Normal cell,B cell,CD79a,CD79A\n"
    "Human,Blood,Blood,Normal cell,T cell,CD3d,CD3D\nHuman,Blood,Blood,Normal cell,T cell,CD3e,CD3E\n",
    "sctype.csv": "tissueType,cellName,geneSymbolmore1,geneSymbolmore2,shortName\n"
    'Blood,B cell,"MS4A1,CD79A",CD3D,B\nBlood,T cell,"CD3D,CD3E",,T\n',
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_known_by_its_columns(tmp_path, name):
    (tmp_path / name).write_text(LAYOUTS[name])
    narrowed = {} if name in ("own.csv", "signs.csv", "sets.gmt") else {"tissues": ["blood"]}
    if name == "panglao.tsv":
        narrowed["species"] = "human"
    found = read_marker_table(tmp_path / name, **narrowed)
    assert {each.name: each.genes for each in found} == WANTED


@pytest.mark.parametrize(
    ("text", "more", "match"),
    [
        ("gene,size\nA,1\n", {}, r"column of cell types .*got .*t\.csv with gene, size"),
        ("cell_type,size\nA,1\n", {}, r"column of genes .*got .*t\.csv"),
        ("gene,cell_type\n", {}, "lists none. Name another table."),
        (
            "gene,cell_type,tissue\nA,B,Blood\n",
            {"tissues": ["Blood", "Brain"]},
            "rows of Blood, Brain.*Tissues there: Blood",
        ),
        ("cell_type,gene\nA,B,\n", {}, "3 fields, line 2"),
    ],
)
def test_a_table_that_names_nothing_is_refused(tmp_path, text, more, match):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=match):
        read_marker_table(tmp_path / "t.csv", **more)


def test_types_of_other_tissues_are_left_out_unless_they_occur_in_two(tmp_path):
    (tmp_path / "t.csv").write_text(
        "gene,cell_type,tissue,species\nA,here,Breast,human\nB,pericyte,Brain,human\nC,pericyte,Lung,human\n"
        "D,duct,Liver,human\nE,duct,Lung,mouse\nF,nowhere,,human\n"
    )
    found = read_marker_table(tmp_path / "t.csv", tissues=["breast"], species="human")
    assert {each.name: each.genes for each in found} == {"here": ("A",), "pericyte": ("B", "C")}


@pytest.mark.parametrize("name", ["none.csv", "none.gmt", "none.xlsx"])
def test_a_missing_table_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="must be a file that exists"):
        read_marker_table(tmp_path / name)


def sets(**genes):
    return [MarkerSet(name, tuple(of)) for name, of in genes.items()]


def test_genes_are_found_in_the_index_or_in_the_column_that_has_most_of_them():
    wanted = sets(b=["MS4A1", "CD79A"], t=["CD3D"])
    var = pd.DataFrame({"size": [1, 2, 3]}, index=["CD3D", "MS4A1", "X"])
    found = gene_names(var, wanted)
    assert (found.column, found.position, found.n_wanted) == (None, {"CD3D": 0, "MS4A1": 1}, 3)
    var = pd.DataFrame(
        {"symbol": pd.Categorical(["MS4A1", "CD79A", "CD3D"]), "kind": ["a", "b", "c"]},
        index=["ENSG1", "ENSG2", "ENSG3"],
    )
    found = gene_names(var, wanted)
    assert (found.column, found.position["CD79A"], found.any_case) == ("symbol", 1, False)
    found = gene_names(pd.DataFrame(index=["Ms4a1", "Cd79a", "Cd3d"]), wanted)
    assert (len(found.position), found.any_case) == (3, True)
    assert not gene_names(pd.DataFrame(index=["ENSG1", "ENSG2"]), wanted).position


def test_genes_are_found_by_the_symbol_inside_their_name_unless_another_has_it_alone():
    wanted = sets(b=["MS4A1", "CD79A"], t=["CD3D"])
    names = ["CD79A_ENSG00000105369", "CD3D_ENSG00000167286", "CD3D", "ENSG00000156738.18|MS4A1"]
    found = gene_names(pd.DataFrame(index=names), wanted)
    assert found.position == {"CD79A": 0, "CD3D": 2, "MS4A1": 3}
    assert (found.column, found.any_case) == (None, False)


def test_a_few_genes_in_another_case_are_those_of_another_species():
    wanted = sets(b=["MS4A1", "CD79A"], t=["CD3D"])
    found = gene_names(pd.DataFrame(index=["CD3D", "Cd79a", "MS4A1"]), wanted)
    assert (found.position, found.any_case) == ({"CD3D": 0, "MS4A1": 2}, False)
    assert gene_names(pd.DataFrame(index=["CD3D", "Cd79a", "Ms4a1"]), wanted).any_case


def profiles(seed=0, n_genes=400):
    """Random genes; the first ten mark cluster 0, the next ten cluster 1, and nothing marks cluster 2."""
    rng = np.random.default_rng(seed)
    level = rng.gamma(1.0, 2.0, size=(n_genes, 1))
    mean = level + 0.05 * rng.normal(size=(n_genes, 3))
    mean[:10, 0] += 1
    mean[10:20, 1] += 1
    return Profiles(
        np.array([50, 40, 30]), mean.astype(np.float32), np.ones((n_genes, 3), np.float32),
        np.full(n_genes, 0.5, np.float32),
    )  # fmt: skip


def named(wanted, markers=((), (), ()), **settings):
    var = pd.DataFrame(index=[f"g{i}" for i in range(400)])
    return name_clusters(
        profiles(), wanted, gene_names(var, wanted), markers=markers, min_score=4.0, **settings
    )


def genes(*positions):
    return [f"g{i}" for i in positions]


def test_clusters_get_the_set_that_no_random_set_reaches_and_others_are_unknown():
    markers = (list(range(10)), list(range(10, 15)), list(range(100, 110)))
    wanted = sets(
        a=genes(*range(10)), b=genes(*range(10, 20)), rare=genes(5, 6), other=genes(*range(50, 70))
    )
    first, second, third = named(wanted, markers)
    assert (first.name, first.precision, first.recall) == ("a", 1, 1)
    assert (second.name, second.precision, second.recall) == ("b", 1, 0.5)
    assert third.name == UNKNOWN
    assert third.score < 4 < 6 < first.score
    assert first.score > first.second_score
    later = [*range(5), *range(100, 105), *range(5, 10)]
    first = named(wanted, (later, (), ()))[0]
    assert (first.precision, first.recall) == (0.5, 1)  # of the first ten, and of all
    assert "rare" not in {first.second, second.second, third.best}  # two genes are too few


def test_a_cluster_may_be_mixed_if_a_type_with_other_genes_fits_nearly_as_well():
    wanted = sets(
        half=genes(*range(5)), other=genes(*range(5, 10)), kindred=genes(*range(4), 300), b=genes(*range(10, 20))
    )  # fmt: skip
    first, second, third = named(wanted)
    assert {first.best, first.second} == {"half", "other"}
    assert first.may_be_mixed
    assert not second.may_be_mixed
    assert not third.may_be_mixed  # unknown
    assert not named([each for each in wanted if each.name != "other"])[0].may_be_mixed
    assert named([each for each in wanted if each.name != "other"])[0].shared == 0.8
    assert named(sets(large=genes(*range(9)), part=genes(*range(3), 300)))[0].shared == 0.75
    assert not named(sets(only=genes(*range(5))))[0].may_be_mixed


def test_random_sets_have_scores_of_deviation_one():
    rng = np.random.default_rng(1)
    wanted = sets(**{f"s{i}": genes(*rng.choice(400, 12, replace=False)) for i in range(300)})
    scores = np.array([name.score for name in named(wanted)])
    assert (scores > 1).all()  # the best of 300
    assert (scores < 6).all()
    usable = [(each.name, np.array([int(gene[1:]) for gene in each.genes])) for each in wanted]
    from scrcl.markers.names import set_scores

    every = set_scores(profiles(), usable)
    assert every.mean() == pytest.approx(0, abs=0.2)
    assert every.std() == pytest.approx(1, abs=0.2)


def test_a_gene_of_many_sets_counts_less():
    shared = [f"g{i}" for i in range(5)]
    many = sets(**{f"s{i}": [*shared, *genes(*range(100 + 5 * i, 105 + 5 * i))] for i in range(8)})
    own = sets(own=genes(*range(5, 10), *range(90, 95)))
    first = named([*many, *own])[0]
    assert first.name == "own"
    assert first.second_score < 0.7 * first.score


def test_without_a_set_of_three_genes_there_are_no_names():
    assert named(sets(a=genes(1, 2))) == []
    assert len(named(sets(a=genes(1, 2, 3)))) == 3
