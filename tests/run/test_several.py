"""Several models by label."""

from __future__ import annotations

from pathlib import Path

import pytest

from resanalysis.run.several import labelled


def test_labels(tmp_path: Path) -> None:
    odd = tmp_path / "a=b.pt"
    odd.touch()
    found = labelled(["deep=x/net.pt", str(odd), "timm:resnet18?weights=none", "bundled:tiny"])
    assert found == {
        "deep": "x/net.pt",
        "a=b": str(odd),
        "resnet18": "timm:resnet18?weights=none",
        "tiny": "bundled:tiny",
    }


def test_two_models_of_one_label() -> None:
    with pytest.raises(
        ValueError, match=r"two models are called 'a': x.pt and y.pt; name them apart"
    ):
        labelled(["a=x.pt", "a=y.pt"])
