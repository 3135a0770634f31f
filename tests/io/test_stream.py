from __future__ import annotations

import threading
import time

import h5py
import numpy as np
import pytest
from scipy import sparse

from scrcl.errors import StoreError
from scrcl.io.open import open_input
from scrcl.io.rows import rows_from_reader
from scrcl.io.stream import Reading, iter_rows, reduce_rows
from tests.stores import random_counts, table, write_store


class Census:
    """Counts objects that are alive, and the largest number at a time."""

    def __init__(self):
        self.now = self.most = 0
        self.lock = threading.Lock()

    def born(self):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def died(self):
        with self.lock:
            self.now -= 1


class Block(sparse.csr_matrix):
    """A block that is counted while it is alive."""

    census: Census

    def __del__(self):
        self.census.died()


def counted_rows(n_blocks: int, *, pause_s: float = 0.0):
    census = Census()

    def read(start, stop):
        census.born()
        time.sleep(pause_s if start % 7 == 0 else 0)
        block = Block(np.full((stop - start, 3), start, dtype=np.float32))
        block.census = census
        return block

    return rows_from_reader(read, shape=(n_blocks, 3), block_rows=1), census


@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_few_blocks_and_results_are_in_memory_at_a_time(n_workers):
    x, blocks = counted_rows(150, pause_s=0.002)
    results = Census()

    class Result:
        def __init__(self, value):
            self.value = value
            results.born()

        def __del__(self):
            results.died()

    def combine(total, more):
        total.value += more.value
        return total

    total = reduce_rows(x, lambda _, block: Result(block[0, 0]), combine, Reading(n_workers))
    assert total.value == sum(range(150))
    assert blocks.most <= n_workers + 1
    assert results.most <= n_workers + 4


@pytest.mark.parametrize("n_ahead", [0, 1, 3])
def test_rows_come_in_order_and_few_are_read_ahead(n_ahead):
    x, blocks = counted_rows(60)
    seen = []
    for start, block in iter_rows(x, n_ahead=n_ahead):
        seen.append((start, block[0, 0]))
        time.sleep(0.001)
    assert seen == [(i, i) for i in range(60)]
    assert blocks.most <= n_ahead + 2


def test_leaving_the_loop_stops_reading():
    x, blocks = counted_rows(100)
    reads = []
    for start, _ in iter_rows(x):
        reads.append(start)
        if start == 3:
            break
    assert reads == [0, 1, 2, 3]
    assert blocks.most <= 3


def test_sums_have_the_same_bits_for_any_number_of_workers():
    values = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32) ** 5
    x = rows_from_reader(lambda a, b: values[a:b], shape=values.shape, block_rows=7)

    def total(n_workers):
        return reduce_rows(
            x, lambda _, block: block.sum(0, dtype=np.float64), np.add, Reading(n_workers)
        )

    for n_workers in (2, 3, 8):
        np.testing.assert_array_equal(total(1), total(n_workers))


def test_the_first_fault_is_reported_even_if_a_later_block_fails_earlier():
    x, _ = counted_rows(20)

    def fail(start, block):
        time.sleep(0.02 if start == 5 else 0)
        if start >= 5:
            raise ArithmeticError(start)
        return block

    for _ in range(3):
        with pytest.raises(ArithmeticError, match=r"^5$"):
            reduce_rows(x, fail, lambda a, _: a, Reading(4))


def test_progress_adds_up_to_all_rows():
    x = rows_from_reader(
        lambda a, b: np.ones((b - a, 2), dtype=np.float32), shape=(25, 2), block_rows=10
    )
    done = []
    reduce_rows(x, lambda *_: 0, lambda *_: 0, Reading(on_rows=done.append))
    assert sorted(done) == [5, 10, 10]
    assert x.numblocks == (3, 1)


@pytest.mark.parametrize("name", ["h5ad csr gzip", "zarr v3"])
def test_a_damaged_chunk_names_its_rows(name, tmp_path):
    counts = random_counts(4000, 50, density=0.5)
    path = write_store(name, table(counts), tmp_path)
    if name.startswith("zarr"):
        chunk = max((path / "X/data/c").iterdir(), key=lambda p: int(p.name))
        chunk.write_bytes(b"\0" * 100)
    else:
        with h5py.File(path) as file:
            data = file["X/data"]
            info = data.id.get_chunk_info(data.id.get_num_chunks() - 1)
        content = bytearray(path.read_bytes())
        content[info.byte_offset : info.byte_offset + info.size] = b"\0" * info.size
        path.write_bytes(content)
    x = open_input([path]).x(500)
    with pytest.raises(StoreError, match=r"chunk .*X/data.*rows [\d,]+ to [\d,]+, is not"):
        reduce_rows(x, lambda _, b: b.nnz, lambda a, b: a + b)
    with pytest.raises(StoreError, match="rows"):
        list(iter_rows(x))


def test_column_indices_outside_the_genes_are_reported_as_damage(tmp_path):
    path = write_store("h5ad csr", table(random_counts(50, 10)), tmp_path)
    with h5py.File(path, "r+") as file:
        file["X/indices"][7] = 99
    with pytest.raises(StoreError, match=r"chunk 0 of X/indices.* rows 0 to 49.* gene 99 of 10"):
        list(iter_rows(open_input([path]).x(10)))
