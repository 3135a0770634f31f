import anndata
import numpy as np
import pytest

import scrcl
from scrcl.engine.arguments import shown


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scrcl.open_run(None), "out must be the path of a folder; got None."),
        (lambda: scrcl.find_markers(5), "out must be the path of a folder; got 5."),
        (lambda: scrcl.find_markers("x", by=["a"]), "by must be the name of a column of obs; got"),
        (lambda: scrcl.find_markers("x", n_genes=1.5), "n_genes must be a whole number of at"),
        (lambda: scrcl.find_markers("x", n_genes=True), "n_genes must be a whole number of at"),
        (lambda: scrcl.pseudobulk("x", donors=None), "donors must be the name of a column of obs"),
        (lambda: scrcl.subcluster("x", None), "clusters must be numbers or names of clusters"),
        (lambda: scrcl.subcluster("x", 3, write="no"), "write must be True or False; got 'no'."),
        (lambda: scrcl.rename("x", [3]), "names must be names by cluster, as {3: 'B cell'}, or"),
        (lambda: scrcl.export("x", None, "csv"), "target must be a path; got None."),
        (lambda: scrcl.evaluate("x", np.arange(9)), "labels must be the name of a column of obs,"),
        (lambda: scrcl.evaluate("x", "type", table=[1]), "table must be the path of a CSV file"),
        (lambda: scrcl.fit("x", config={"seed": 1}), "config must be a scrcl.RunConfig; got {"),
        (lambda: scrcl.fit("x", reporter=print), "reporter must be a reporter, with the methods"),
        (lambda: scrcl.predict(3, "x"), "run must be the path of a folder; got 3."),
        (lambda: scrcl.plan(anndata.AnnData()), "inputs must be files here; got an AnnData"),
        (lambda: scrcl.write_back(anndata.AnnData()), "give that folder as `out`."),
    ],
)
def test_a_wrong_type_is_one_clear_error(call, message):
    with pytest.raises(scrcl.ScrclError) as raised:
        call()
    assert message in str(raised.value)


def test_values_in_messages_are_short():
    assert shown((3, 5)) == "(3, 5)"
    assert shown(list(range(99))) == "one list"
    assert shown(np.arange(99)) == "one ndarray"
