"""Distances from published curves against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from resanalysis.statistics.curves import (
    published_responses,
    response_distance,
    same_net,
)

CURVES = "net,order,layer_index,std\n" + "\n".join(
    [f"ResNet-20,orig,{k + 0.06},{std}" for k, std in ((1, 1.0), (2, 2.0), (4, 4.0))]
    + [f"ResNet-20,sorted,{k},{std}" for k, std in ((1, 4.0), (2, 2.0), (3, 1.0))]
    + ["plain-20,orig,1,9.0"]
)


def measured() -> pd.DataFrame:
    return pd.DataFrame(
        {"model": ["resnet20"] * 4 + ["resnet20"], "layer": [1, 2, 3, 4, -1],
         "std": [0.5, 1.0, 3.0, 8.0, np.nan], "rank": [4, 3, 2, 1, -1]}
    )  # fmt: skip


def test_distance(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(CURVES)
    found = response_distance(measured(), published_responses(path)).set_index("order")
    row = found.loc["orig"]  # layers 1, 2, 4: ratios 0.5, 0.5, 2
    assert row["layers"] == 3
    assert row["median_ratio"] == 0.5
    assert row["rms_difference"] == pytest.approx(np.sqrt((0.5**2 + 1 + 4**2) / 3))
    assert row["rms_log_ratio"] == pytest.approx(np.log(2))
    assert row["correlation"] == pytest.approx(np.corrcoef([0.5, 1, 8], [1, 2, 4])[0, 1])
    assert found.loc["sorted", "median_ratio"] == 1.5  # 8/4, 3/2, 1/1


def test_names() -> None:
    assert same_net("resnet20", "ResNet-20")
    assert not same_net("resnet20", "ResNet-200")
    unnamed = measured().assign(model="mine")
    with pytest.raises(ValueError, match="no model has the name of a published network: there are"):
        response_distance(unnamed, pd.DataFrame({"net": ["ResNet-20"], "order": ["orig"],
                                                 "layer_index": [1.0], "std": [1.0]}))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "needs the columns net, order, layer_index, std and lacks net"),
        ("net,order,layer_index,std\n", "lacks rows"),
        ("net,order,layer_index,std\nx,orig,one,1\n", "cannot read published curves"),
        ("net,order,layer_index,std\nx,odd,1,1\n", "order is 'odd' in some rows"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        published_responses(path)
    with pytest.raises(ValueError, match="cannot read published curves from"):
        published_responses(tmp_path / "absent.csv")
