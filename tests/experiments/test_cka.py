"""CKA against its definition written out, and its invariances."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

import resanalysis as ra
from resanalysis.errors import ResanalysisError
from resanalysis.experiments.cka import _hsic
from tests.conftest import cifar

ROWS = 9


def images(count: int = 11) -> ra.Dataset:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    return ra.image_dataset(pictures, np.arange(count) % 5, mean=[0.5] * 3, std=[0.25] * 3)


def unbiased(k: np.ndarray, m: np.ndarray) -> float:
    """HSIC as a U-statistic: the mean over all quadruples of different rows (Song et al. 2012)."""
    n = len(k)
    terms = [
        k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in permutations(range(n), 4)
    ]
    return float(np.mean(terms))


def gram(values: torch.Tensor) -> torch.Tensor:
    return (values @ values.T).fill_diagonal_(0)[None]


def test_hsic_is_the_u_statistic() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(7, size, generator=generator).double() for size in (3, 4))
    found = float(_hsic(gram(one), gram(other))[0, 0])
    assert found == pytest.approx(unbiased((one @ one.T).numpy(), (other @ other.T).numpy()))


def test_streams_against_the_definition() -> None:
    network = ra.unravel(cifar(14), torch.randn(2, 3, 8, 8))
    data = images()
    table = ra.cka(network, data, minibatch=ROWS)  # nine rows, and two that have no estimate
    with torch.no_grad():
        h, side = network.enter(data.batch(0, ROWS)[0])
        streams = [h]
        for unit in network.units:
            streams.append(unit(streams[-1], side))
    rows = [stream.flatten(1).double() for stream in streams]
    rows = [values - values.mean(0) for values in rows]
    grams = [(values @ values.T).numpy() for values in rows]
    assert len(table) == len(grams) ** 2
    for row in table.loc[table["unit_b"] >= table["unit_a"]].iloc[::5].to_dict("records"):
        a, b = grams[row["unit_a"] + 1], grams[row["unit_b"] + 1]
        expected = unbiased(a, b) / np.sqrt(unbiased(a, a) * unbiased(b, b))
        assert row["cka"] == pytest.approx(expected, rel=1e-9)
    square = table.pivot(index="unit_a", columns="unit_b", values="cka").to_numpy()
    np.testing.assert_allclose(square, square.T, rtol=1e-12)
    np.testing.assert_allclose(np.diag(square), 1, rtol=1e-12)


def test_rotation_and_scale_change_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(8, 5, generator=generator).double()
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator).double())[0]
    turned = 3.7 * values @ rotation + 2.0
    one, other = gram(values), gram(turned)
    alike = _hsic(one, other) / torch.sqrt(_hsic(one, one) * _hsic(other, other))
    assert float(alike) == pytest.approx(1, rel=1e-10)


def test_two_networks_and_their_order() -> None:
    example = torch.randn(2, 3, 8, 8)
    torch.manual_seed(3)
    small, large = (ra.unravel(cifar(depth), example) for depth in (8, 14))
    data = images()
    there = ra.cka(small, data, other=large, other_data=data)
    back = ra.cka(large, data, other=small, other_data=data)
    assert len(there) == (len(small) + 1) * (len(large) + 1)
    swapped = back.rename(columns={"unit_a": "unit_b", "unit_b": "unit_a"})
    both = there.merge(swapped, on=["unit_a", "unit_b"])
    np.testing.assert_allclose(both["cka_x"], both["cka_y"], rtol=1e-10)
    alone = ra.cka(small, data)
    beside_itself = ra.cka(small, data, other=small)
    np.testing.assert_array_equal(alone["cka"], beside_itself["cka"])


def test_too_few_rows_are_refused() -> None:
    network = ra.unravel(cifar(8), torch.randn(2, 3, 8, 8))
    with pytest.raises(ResanalysisError, match="compares 4 rows or more, got 3 examples"):
        ra.cka(network, images(3))
    with pytest.raises(ResanalysisError, match="give minibatch instead"):
        ra.cka(network, images(), batch_size=4)
