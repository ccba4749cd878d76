"""Records of any shape survive the arrays that a store keeps."""

from __future__ import annotations

import numpy as np

from resanalysis.routes.whole import packed, unpacked


def test_records_are_the_same_again() -> None:
    generator = np.random.default_rng(0)
    records = [
        [
            {
                "boxes": generator.normal(size=(n, 4)).astype(np.float32),
                "labels": generator.integers(0, 9, n),
                "number": np.array(n, dtype=np.int64),
            }
            for n in row
        ]
        for row in ([0, 3, 1], [2, 0, 0])
    ]
    block = packed(records)
    assert all(array.dtype != object for array in block.values())
    again = unpacked(block)
    for row, other in zip(records, again, strict=True):
        for record, found in zip(row, other, strict=True):
            assert set(record) == set(found)
            for name in record:
                assert record[name].dtype == found[name].dtype
                np.testing.assert_array_equal(record[name], found[name])
