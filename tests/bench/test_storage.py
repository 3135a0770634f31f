"""The benchmark of storage at toy size."""

import pytest

from bench.storage.__main__ import CHOSEN, CHUNKS, main


@pytest.mark.slow
def test_the_storage_table_has_a_row_for_each_layout(tmp_path, data, options, read):
    page = tmp_path / "storage.md"
    sizes = options(cells=300, chunk=8192, shards=8192, repeats=1, out=page)
    main(["--from", str(data / "plain.h5ad"), *sizes])
    text, rows = read(page)
    for length in CHUNKS:
        assert f"| {CHOSEN}, chunks of {length:,} |" in text
    for layout in ("zstd 3, chunks of 8,192", "anndata v3 zarr, own shards", "h5ad gzip"):
        assert f"| {layout} |" in text
    assert "300 cells, 150 genes" in text
    assert all(row["pipelines"]["zarr"]["scan"] > 0 for row in rows)
