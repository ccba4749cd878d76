"""A part inside a larger model: lesions against hooks on the whole model's own modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typer.testing import CliRunner

import resanalysis as ra
from resanalysis.cli import app
from resanalysis.models.cifar_resnet import CifarResNet
from resanalysis.routes.scores import scores
from resanalysis.routes.shortening import exported
from tests.conftest import Batches, cifar, settle
from tests.reference import with_zeroed


class Encoder(nn.Module):
    """A small residual network that returns the features of every stage, as segmentation encoders do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = cifar(14)

    def forward(self, x: Tensor, *, scale: float = 1.0) -> dict[str, Tensor]:
        h = F.relu(self.body.bn1(self.body.conv1(x * scale)))
        features = {"stem": h}
        for number, stage in enumerate((self.body.layer1, self.body.layer2, self.body.layer3)):
            for block in stage:
                h = block(h)
            features[f"stage{number}"] = h
        return features


class Segmenter(nn.Module):
    """An encoder, a decoder that reads every stage, and control flow that no graph can hold."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.encoder = Encoder()
        self.lateral = nn.ModuleList(nn.Conv2d(width, 6, 1) for width in (4, 4, 8, 16))
        self.out = nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if float(x.abs().max()) > 1e6:
            raise ValueError("too large")
        found = list(self.encoder(x - 0.1, scale=0.5).values())
        total = self.lateral[3](found[3])
        for lateral, feature in zip(list(self.lateral)[2::-1], found[2::-1], strict=True):
            total = F.interpolate(total, size=feature.shape[2:]) + lateral(feature)
        return {"out": self.out(torch.relu(total)), "size": torch.tensor(x.shape[2:])}


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return settle(Segmenter())  # type: ignore[return-value]


def blocks(model: Segmenter) -> list[Any]:
    body = model.encoder.body
    return [*body.layer1, *body.layer2, *body.layer3]


def spread(output: Tensor, labels: Tensor | None, intact: Tensor) -> Tensor:
    return (output * torch.linspace(-1, 2, output[0].numel()).view_as(output[0])).flatten(1).sum(1)


def test_units_and_what_the_decoder_reads(model: Segmenter, images: Tensor) -> None:
    network = ra.unravel(model, images, submodule="encoder")
    assert [unit.name for unit in network.units][:2] == [
        "encoder.body.layer1.0",
        "encoder.body.layer1.1",
    ]
    assert len(network) == 6
    assert network.taps == (0, 2, 4)
    with torch.no_grad():
        assert torch.allclose(network(images), model(images)["out"], atol=1e-5)
    with pytest.raises(ra.UnravelError, match=r"control flow of Segmenter .*--submodule PATH"):
        ra.unravel(model, images)


def test_every_lesion_changes_every_feature_as_hooks_do(model: Segmenter, images: Tensor) -> None:
    network = ra.unravel(model, images, submodule="encoder")
    data = Batches(
        images, torch.randint(5, (11, 16, 16), generator=torch.Generator().manual_seed(0))
    )
    routes = [ra.intact(network), *(ra.without(network, [unit]) for unit in range(6))]
    routes += [ra.without(network, [0, 3, 5]), ra.reordered(network, [1, 0, 2, 3, 4, 5])]
    found = ra.evaluate(network, routes, data, batch_size=4, metric=spread)
    with torch.no_grad():
        base = model(images)["out"]
    for row, units in enumerate([[], *([unit] for unit in range(6)), [0, 3, 5]]):
        output = with_zeroed(model, [blocks(model)[unit].bn2 for unit in units], images)["out"]
        assert found.values["metric"][row] == pytest.approx(
            spread(output, None, base), rel=1e-3, abs=1e-2
        )
        by_pixel = (output.argmax(1) != data.labels).float().mean((1, 2))
        assert found.values["error"][row] == pytest.approx(by_pixel.numpy(), abs=1e-6)
        agreement = (output.argmax(1) == base.argmax(1)).float().mean((1, 2))
        assert found.values["agreement"][row] == pytest.approx(agreement.numpy(), abs=1e-6)
    first = model.encoder.body.layer1
    model.encoder.body.layer1 = nn.Sequential(first[1], first[0])  # type: ignore[index]
    try:
        with torch.no_grad():
            swapped = spread(model(images)["out"], None, base)
    finally:
        model.encoder.body.layer1 = first
    assert found.values["metric"][-1] == pytest.approx(swapped, rel=1e-3, abs=1e-2)


def test_pixels_without_a_class_are_left_out() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(3, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    labels[0, 0] = 255
    labels[1, :2] = -100
    found = scores(logits, labels, logits)
    for i in range(2):
        kept = (labels[i] >= 0) & (labels[i] < 3)
        loss = F.cross_entropy(logits[i].flatten(1).T[kept.flatten()], labels[i][kept])
        assert found[1, i].item() == pytest.approx(float(loss))
        wrong = (logits[i].argmax(0) != labels[i])[kept].float().mean()
        assert found[0, i].item() == pytest.approx(float(wrong))


def test_stream_and_response_of_a_part(model: Segmenter, images: Tensor) -> None:
    network = ra.unravel(model, images, submodule="encoder")
    frame = ra.stream(network, Batches(images, None))
    assert len(frame) == 6
    assert frame["ratio"].notna().all()
    assert frame["exit_agreement"].isna().all()
    with pytest.raises(ValueError, match="reads the stream at 4 places"):
        ra.gradients(network, LabelledBatches(images), at="first-unit")
    data = ra.image_dataset(np.zeros((4, 3, 16, 16), np.uint8), None, mean=[0.5] * 3, std=[1] * 3)
    with pytest.warns(UserWarning, match=r"never ran on this data.*: encoder\.body\.linear"):
        layers = ra.response(model, data, submodule="encoder", kinds="all")
    assert layers["name"].str.startswith("encoder.").all()
    assert len(layers) == 14
    assert layers.attrs["never_ran"] == {"Segmenter": ["encoder.body.linear"]}


class LabelledBatches(Batches):
    name, subset = "few", ""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__(inputs, torch.zeros(len(inputs), dtype=torch.long))

    def limited(self, n: int, seed: int) -> LabelledBatches:
        return LabelledBatches(self.inputs[:n])


class Scaled(nn.Module):
    def __init__(self, net: nn.Module, times: int = 1) -> None:
        super().__init__()
        self.net = net
        self.idle = nn.Linear(2, 2)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            y = self.net(2 * x)
        return 3 * y


def test_gradients_of_a_part_with_one_output_are_the_whole_models(batches: Batches) -> None:
    model = Scaled(cifar(14)).eval()
    data = LabelledBatches(batches.inputs)
    part = ra.unravel(model, batches.inputs, submodule="net")
    whole = ra.unravel(model, batches.inputs)
    assert part.taps == ()
    assert [u.name for u in part.units] == [u.name for u in whole.units]
    one, other = (ra.gradients(n, data, method="exact", at="first-unit") for n in (part, whole))
    np.testing.assert_allclose(one["sum_norm"], other["sum_norm"], rtol=1e-4)
    with pytest.raises(ValueError, match="measure it at first-unit"):
        ra.gradients(part, data, method="exact")


def test_parts_that_cannot_be_one(images: Tensor) -> None:
    with pytest.raises(ra.UnravelError, match="runs its part net 2 times a pass"):
        ra.unravel(Scaled(cifar(8), times=2).eval(), images, submodule="net")
    with pytest.raises(ra.UnravelError, match="runs its part idle 0 times a pass"):
        ra.unravel(Scaled(cifar(8)).eval(), images, submodule="idle")
    with pytest.raises(ra.UnravelError, match=r"no part 'nett'; there are .*net"):
        ra.unravel(Scaled(cifar(8)).eval(), images, submodule="nett")

    class Leaking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            inner = torch.relu(self.body[0](x))
            x = x + self.body[1](inner)
            return x + self.body[1](torch.relu(x)), inner

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = Leaking()

        def forward(self, x: Tensor) -> Tensor:
            x, inner = self.part(x)
            return x + inner

    with pytest.raises(
        ra.UnravelError, match=r"an output of this part is made inside unit 0 \(part"
    ):
        ra.unravel(Around().eval(), torch.randn(3, 4), submodule="part")


class Boxes(nn.Module):
    """Returns what has no logits."""

    def __init__(self) -> None:
        super().__init__()
        self.net = cifar(8)

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        return [{"boxes": row[None], "scores": row.max()} for row in self.net(x)]


def boxes_score(output: list[dict[str, Tensor]], labels: Tensor | None, intact: Any) -> Tensor:
    return torch.stack([row["scores"] for row in output])


def test_outputs_without_logits_need_a_metric(images: Tensor) -> None:
    model = Boxes().eval()
    network = ra.unravel(model, images, submodule="net")
    data = LabelledBatches(images)
    message = "returns a list of 11, first a dict of boxes, scores, in which there are no logits"
    with pytest.raises(ValueError, match=message):
        ra.lesion(network, data, batch_size=11)  # type: ignore[arg-type]
    frame = ra.lesion(network, data, metric=boxes_score)  # type: ignore[arg-type]
    for unit, block in enumerate([model.net.layer1[0], model.net.layer2[0], model.net.layer3[0]]):  # type: ignore[index]
        expected = with_zeroed(model.net, [block.bn2], images).max(1).values.numpy()
        row = frame.iloc[unit + 1]
        assert row["metric"] == pytest.approx(expected.mean(), rel=1e-4)
        intact = model.net(images).detach().max(1).values.numpy()
        assert row["metric_delta"] == pytest.approx((expected - intact).mean(), rel=1e-3, abs=1e-4)
    assert frame["error"].isna().all()
    assert frame.attrs["metric"] == "boxes_score"
    with pytest.raises(
        ValueError, match=r"the metric <lambda> returned shape \(\) for 11 examples"
    ):
        ra.lesion(network, data, metric=lambda o, y, i: torch.tensor(0.0), batch_size=11)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["backbone", pytest.param("backbone.body", marks=pytest.mark.nightly)]
)
def test_a_detectors_backbone(part: str) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    backbone = torchvision.models.detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, trainable_layers=5
    )
    model = torchvision.models.detection.FasterRCNN(
        backbone, 4, min_size=64, max_size=64, box_score_thresh=0.0, box_detections_per_img=5,
        rpn_pre_nms_top_n_test=40, rpn_post_nms_top_n_test=20,
    ).eval()  # fmt: skip
    pictures = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def best(output: list[dict[str, Tensor]], labels: Tensor | None, intact: Any) -> Tensor:
        return torch.stack([row["scores"].sum() + row["boxes"].sum() / 64 for row in output])

    network = ra.unravel(model, pictures, submodule=part)
    assert (len(network), network.taps) == (8, (2, 4, 6))
    assert network.units[0].name == "backbone.body.layer1.0"
    data = Batches(pictures, None)
    routes = [ra.intact(network), ra.without(network, [1]), ra.without(network, [5])]
    found = ra.evaluate(network, routes, data, metric=best, fast=False).values["metric"]
    body = model.backbone.body
    for row, block in ((0, None), (1, body.layer1[1]), (2, body.layer3[1])):
        zeroed = [] if block is None else [block.bn2]
        output = with_zeroed(model, zeroed, pictures)
        assert found[row] == pytest.approx(best(output, None, None).numpy(), rel=1e-3)
    assert not np.allclose(found[0], found[1])


def test_the_command_line_runs_the_whole_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_host.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "from resanalysis.models.cifar_resnet import CifarResNet\n"
        "class Whole(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        torch.manual_seed(0)\n"
        "        self.net = CifarResNet(14, classes=10)\n"
        "    def forward(self, x):\n"
        "        if float(x.sum()) > 1e9: raise ValueError\n"
        "        return self.net(x) * 2\n"
        "def largest(output, labels, intact):\n"
        "    return output.max(1).values\n"
        "def broken(output, labels, intact):\n"
        "    return output\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(12) % 10)
    words = [
        "lesion",
        "python:mine_host:Whole",
        "--data",
        "d.npz",
        "--normalize",
        "none",
        "--out",
        "o",
    ]
    result = CliRunner().invoke(
        app, [*words, "--submodule", "net", "--metric", "mine_host:largest"]
    )
    assert result.exit_code == 0, result.output
    header = (tmp_path / "o" / "lesion.csv").read_text().splitlines()[0]
    assert header.endswith(
        "metric,metric_low,metric_high,metric_delta,metric_delta_low,metric_delta_high"
    )
    for extra, message in (
        (["--submodule", "nett"], "the model has no part 'nett'; there are net"),
        ([], "control flow of Whole cannot be captured as a graph"),
        (
            ["--submodule", "net", "--metric", "mine_host:absent"],
            "mine_host has no function absent",
        ),
        (["--submodule", "net", "--metric", "nothing"], "write package.module:function"),
        (
            ["--submodule", "net", "--metric", "mine_host:broken"],
            "the metric broken returned shape (12, 10)",
        ),
    ):
        result = CliRunner().invoke(app, [*words, *extra])
        assert result.exit_code == 1, result.output
        assert message in " ".join(result.output.split())


def test_many_and_reorder_take_a_metric() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 3, 16, 16), dtype=np.uint8)
    data = ra.image_dataset(images, rng.integers(0, 5, 9), mean=[0.5] * 3, std=[0.25] * 3)
    model = CifarResNet(14, width=4, classes=5).eval()
    network = ra.unravel(model, data.batch(0, 2)[0])

    def wrong(output: Tensor, labels: Tensor | None, intact: Tensor) -> Tensor:
        assert labels is not None
        return (output.argmax(1) != labels).double()

    many = ra.lesion_many(network, data, removed=[1, 2], draws=3, metric=wrong)
    assert many["metric"].to_numpy() == pytest.approx(many["error"].to_numpy())
    assert many["intact_metric"].to_numpy() == pytest.approx(many["intact_error"].to_numpy())
    orders = ra.reorder(network, data, draws=4, metric=wrong)
    assert orders["metric"].to_numpy() == pytest.approx(orders["error"].to_numpy())
    assert (
        ra.figures.lesion(ra.lesion(network, data, metric=wrong)).axes[0].get_ylabel()
        == "Change of own metric"
    )


def test_a_part_can_be_shortened_and_timed_but_not_written(
    model: Segmenter, images: Tensor
) -> None:
    network = ra.unravel(model, images, submodule="encoder")
    with torch.no_grad():
        short = ra.shortened(network, [1, 3])(images)
        expected = with_zeroed(model, [blocks(model)[unit].bn2 for unit in (1, 3)], images)["out"]
    assert torch.allclose(short, expected, atol=1e-4)
    pixels = torch.randint(5, (11, 16, 16), generator=torch.Generator().manual_seed(0)).numpy()
    pictures = np.random.default_rng(0).integers(0, 256, (11, 3, 16, 16), dtype=np.uint8)
    data = ra.image_dataset(pictures, pixels, mean=[0.5] * 3, std=[0.25] * 3)
    table = ra.prune(network, data, orders=["greedy"], until=2, timing=0.2)
    assert table["removed"].tolist() == [0, 1, 2]
    assert table["speedup"].notna().sum() == 2
    with pytest.raises(
        ValueError, match="the units are a part of Segmenter, and the rest of it is no"
    ):
        exported(network, [1], images)


def test_rearranged_parts_are_scored_by_pixel(model: Segmenter, images: Tensor) -> None:
    network = ra.unravel(model, images, submodule="encoder")
    pictures = np.random.default_rng(0).integers(0, 256, (11, 3, 16, 16), dtype=np.uint8)
    data = ra.image_dataset(pictures, None, mean=[0.5] * 3, std=[0.25] * 3)
    table = ra.rearrange(network, data, kinds=["skip", "swap"])
    intact = table.iloc[0]
    with torch.no_grad():
        answers = model(data.batch(0, 11)[0])["out"].argmax(1)
    assert intact["chance"] == pytest.approx(
        answers.flatten().bincount().max().item() / answers.numel()
    )
    swapped = table.loc[table["kind"] == "swap"].iloc[0]
    assert swapped["units"] == "0 1"
    assert swapped["score"] == pytest.approx(
        (swapped["agreement"] - intact["chance"]) / (1 - intact["chance"]), rel=1e-4
    )
