"""Models of Keras: named after Keras' layers, measured as Keras computes them; no code of a file is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import resanalysis as ra
from resanalysis.checkpoint import CheckpointError, load
from resanalysis.checkpoint.keras_models import keras_on_torch
from tests.conftest import ROOT
from tests.hostile.keras_files import rewritten

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="the extra is not installed")
if keras.config.backend() != "torch":
    pytest.skip("keras was imported with another backend", allow_module_level=True)

UNITS = ["block1", "block2", "block3"]


def tiny(scale: tuple[float, ...] = (1.0, 1.0, 1.0), *, last: str | None = "softmax") -> Any:
    """A pre-activation network of three units, one of which changes the stream's shape.

    ``scale`` multiplies the last kernel of each branch: 0 makes the model without that branch.
    """
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scale")(image)
    x = layers.Conv2D(4, 3, padding="same", name="stem_conv")(x)
    for name, width in zip(UNITS, (4, 6, 6), strict=True):
        y = layers.BatchNormalization(name=f"{name}_1_bn")(x)
        y = layers.ReLU(name=f"{name}_1_relu")(y)
        stride = 1 if width == x.shape[-1] else 2
        y = layers.Conv2D(width, 3, stride, padding="same", name=f"{name}_2_conv")(y)
        if stride == 2:
            x = layers.Conv2D(width, 1, stride, name=f"{name}_0_conv")(x)
        x = layers.Add(name=f"{name}_out")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.5, name="drop")(x)
    model = keras.Model(image, layers.Dense(5, activation=last, name="classes")(x), name="tiny")
    generator = np.random.default_rng(0)
    for variable in model.weights:
        if "seed" in variable.path:
            continue
        noise = generator.normal(size=variable.shape) * 0.3
        variable.assign(1 + abs(noise) if "variance" in variable.path else noise)
    for name, factor in zip(UNITS, scale, strict=True):
        layer = model.get_layer(f"{name}_2_conv")
        layer.set_weights([factor * value for value in layer.get_weights()])
    return model


def images(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    return generator.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8), np.arange(n) % 5


@pytest.fixture(params=["keras", "h5"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"tiny.{request.param}"
    tiny().save(path)
    return path


def test_a_file_gives_the_logits_behind_the_models_softmax(file: Path) -> None:
    raw, _ = images()
    ours = load(file)(torch.from_numpy(raw).float())
    probabilities = tiny()(raw.transpose(0, 2, 3, 1).astype("float32"), training=False)
    torch.testing.assert_close(ours.softmax(1), probabilities)
    logits = tiny(last=None)(raw.transpose(0, 2, 3, 1).astype("float32"), training=False)
    torch.testing.assert_close(ours, logits)


def test_units_have_the_names_and_the_weights_of_keras_layers(file: Path) -> None:
    network = ra.unravel(load(file), torch.randn(2, 3, 8, 8))
    assert [unit.name for unit in network.units] == UNITS
    assert [unit.skip_kind for unit in network.units] == ["identity", "projection", "identity"]
    model = tiny()
    for unit in network.units:
        own = [layer for layer in model.layers if layer.name.startswith(f"{unit.name}_")]
        trained = sum(
            int(np.prod(value.shape)) for layer in own for value in layer.trainable_weights
        )
        assert unit.parameters == trained


def test_a_lesion_is_the_keras_model_with_that_branch_zeroed(file: Path, tmp_path: Path) -> None:
    raw, labels = images()
    np.savez(tmp_path / "data.npz", images=raw, labels=labels)
    data = ra.dataset(str(tmp_path / "data.npz"), normalize="raw")
    network = ra.unravel(load(file), data.batch(0, 4)[0])
    table = ra.lesion(network, data).set_index("name")
    for deleted, name in enumerate(["intact", *UNITS]):
        scale = tuple(0.0 if index == deleted - 1 else 1.0 for index in range(3))
        output = tiny(scale)(raw.transpose(0, 2, 3, 1).astype("float32"), training=False)
        probabilities = output.detach().numpy().astype(float)
        error = float((probabilities.argmax(1) != labels).mean())
        assert table.loc[name, "error"] == pytest.approx(error)
        loss = float(-np.log(probabilities[np.arange(len(labels)), labels]).mean())
        assert table.loc[name, "loss"] == pytest.approx(loss, rel=1e-4)
    assert table["loss"].nunique() == 4  # no two of them agree by chance


def test_a_file_says_the_size_of_its_input(file: Path) -> None:
    assert load(file).resanalysis.input_size == (3, 8, 8)  # pyright: ignore


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_lambda_layers_are_refused_and_not_run(tmp_path: Path, suffix: str) -> None:
    image = keras.Input((8, 8, 3))
    ran = tmp_path / "ran"
    hostile = keras.layers.Lambda(eval(f"lambda x: (open({str(ran)!r}, 'w'), x)[1]"), name="evil")
    keras.Model(image, hostile(image)).save(tmp_path / f"m.{suffix}")
    ran.unlink()
    with pytest.raises(CheckpointError, match=r"holds a Lambda layer \(evil\).*--trust-pickle"):
        load(tmp_path / f"m.{suffix}")
    assert not ran.exists()
    load(tmp_path / f"m.{suffix}", trust_pickle=True)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"module": "subprocess", "class_name": "Popen"}, "names Popen of subprocess"),
        ({"module": "keras.src.utils.file_utils", "class_name": "get_file"}, "names get_file of"),
        ({"module": "keras.layersx", "class_name": "Dense"}, "names Dense of keras.layersx"),
        ({"module": "keras.layers", "class_name": "TorchModuleWrapper"}, "a TorchModuleWrapper"),
        ({"module": "builtins", "class_name": "function", "config": "eval"}, "holds a function"),
        ({"class_name": "__lambda__", "config": {"value": ""}}, "holds a __lambda__"),
        ({"module": ["keras"], "class_name": "Dense"}, "which is no layer of Keras"),
    ],
)
def test_what_is_no_layer_of_keras_is_refused(
    tmp_path: Path, entry: dict[str, Any], reason: str
) -> None:
    saved, forged = tmp_path / "a.keras", tmp_path / "b.keras"
    tiny().save(saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(forged, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                described = json.loads(content)
                described["config"]["layers"][2]["config"]["kernel_initializer"] = entry
                content = json.dumps(described).encode()
            target.writestr(name, content)
    load(saved)
    with pytest.raises(CheckpointError, match=reason):
        load(forged)


def test_damage_and_weights_alone_are_said_in_one_line(tmp_path: Path) -> None:
    tiny().save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(CheckpointError, match="weights without the model"):
        load(tmp_path / "m.weights.h5")
    tiny().save(tmp_path / "m.keras")
    for name in ("cut.keras", "cut.h5"):
        (tmp_path / name).write_bytes((tmp_path / "m.keras").read_bytes()[:3000])
        with pytest.raises(CheckpointError, match="no readable Keras model") as error:
            load(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="is a file of Keras"):
        load(tmp_path / "m.keras", arch="resnet20")


def test_sequential_models_and_models_inside_models() -> None:
    from resanalysis.checkpoint.keras_module import wrapped

    layers = keras.layers
    inner = tiny(last=None)
    image = keras.Input((8, 8, 3))
    nested = keras.Model(image, layers.Softmax(name="end")(inner(image)))
    raw = torch.from_numpy(images(4)[0]).float()
    module = wrapped(nested, "nested").eval()
    torch.testing.assert_close(module(raw), inner(raw.permute(0, 2, 3, 1), training=False))
    network = ra.unravel(module, raw)
    assert [unit.name for unit in network.units] == [f"tiny.{name}" for name in UNITS]
    chain = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(5)])
    ours = wrapped(chain, "chain")(raw)
    torch.testing.assert_close(ours, chain(raw.permute(0, 2, 3, 1)))
    ending = keras.Model(image, tiny()(image))  # whose softmax is the inner model's
    torch.testing.assert_close(wrapped(ending, "ending")(raw), module(raw))


def residual(names: list[tuple[str | None, ...]], *, shared: bool = False) -> Any:
    """Units named (convolution, sum, what follows or precedes); ``None`` leaves a name to Keras.

    ``shared`` puts the activation before the convolution and the projection, and nothing behind the sum.
    """
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    for number, (convolution, total, activation) in enumerate(names):
        if shared:
            x = layers.ReLU(name=activation)(x)
        width = 4 + 2 * shared * number
        y = layers.Conv2D(width, 3, padding="same", name=convolution)(x)
        if shared:
            x, y = layers.Conv2D(width, 1)(x), layers.BatchNormalization()(y)
        x = x + y if total == "+" else layers.Add(name=total)([x, y])
        if not shared:
            x = layers.Activation("relu", name=activation)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(5, name="classes")(x))


@pytest.mark.parametrize(
    ("names", "units"),
    [
        ([("a_conv", "a_add", "a_out"), ("b_conv", "b_add", "b_out")], ["a", "b"]),
        ([("a_conv", None, None), ("b_conv", None, None)], ["a", "b"]),
        ([("a_conv", "+", None), ("b_conv", "+", None)], ["a", "b"]),
        ([(None, "one", None), (None, "two", None)], ["one", "two"]),
        # The first block's name begins the second's.
        ([("c_conv", "c_add", "c_out"), ("c_2_conv", "c_2_add", "c_2_out")], ["c", "c_2"]),
    ],
)
def test_the_activation_behind_a_sum_belongs_to_its_unit(
    names: list[tuple[str | None, ...]], units: list[str]
) -> None:
    """Else it would stand between the units, and each would be a stage of its own."""
    from resanalysis.checkpoint.keras_module import wrapped

    model = residual(names)
    raw = torch.from_numpy(images(4)[0]).float() / 255
    network = ra.unravel(wrapped(model, "model"), raw)
    assert [unit.name for unit in network.units] == units
    assert [unit.stage for unit in network.units] == [0, 0]
    assert network.bridges == (None, None)
    for unit in network.units:
        h = torch.randn(2, *unit.in_shape)
        torch.testing.assert_close(unit.without_branch(h, ()), h.relu())
    expected = model(raw.permute(0, 2, 3, 1), training=False)
    torch.testing.assert_close(network(raw), expected, rtol=1e-4, atol=1e-5)


def test_an_activation_that_skip_and_branch_share_belongs_to_the_next_unit() -> None:
    from resanalysis.checkpoint.keras_module import wrapped

    model = residual([("a_conv", "a_add", "a_relu"), ("b_conv", "b_add", "b_relu")], shared=True)
    network = ra.unravel(wrapped(model, "model"), torch.randn(2, 3, 8, 8))
    assert [unit.name for unit in network.units] == ["a", "b"]
    assert network.bridges == (None, None)
    h = torch.randn(2, *network.units[1].in_shape)
    # What is negative is lost to the skip too: the activation is within the unit.
    torch.testing.assert_close(network.units[1](h, ()), network.units[1](h.relu(), ()))


def test_a_sum_is_named_by_what_one_of_its_terms_alone_is_made_from() -> None:
    """Xception's and ConvNeXt's sums have no names of their own."""
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = stem = layers.Conv2D(4, 1, name="block1_conv")(image)
    for number in (2, 3):
        y = layers.Conv2D(4, 1, name=f"block{number}_conv1")(x)
        y = layers.Conv2D(4, 1, name=f"block{number}_conv2")(layers.ReLU()(y))
        y = layers.BatchNormalization(name=f"block{number}_conv2_bn")(y)
        x = layers.Add()([layers.Conv2D(4, 1)(x), y])
    from resanalysis.checkpoint.keras_names import paths_of

    model = keras.Model(image, layers.Flatten()(layers.add([x, stem])))
    sums = [layer.name for layer in model.layers if isinstance(layer, layers.Add)]
    named = [paths_of(model)[name] for name in sums]
    assert named == ["block2", "block3", sums[2]]  # the last has both blocks in its branch


def test_layers_whose_kernels_are_turned_are_a_plain_chain() -> None:
    from resanalysis.checkpoint.keras_module import wrapped

    layers = keras.layers
    x = image = keras.Input((8, 8, 3))
    for name in ("one", "two", "three"):
        x = layers.Conv2D(4, 3, padding="same", activation="relu", name=name)(x)
        x = layers.BatchNormalization()(x) if name == "two" else layers.MaxPooling2D(2)(x)
    model = keras.Model(image, layers.Dense(5, name="classes")(layers.Flatten()(x)))
    network = ra.unravel(wrapped(model, "model"), torch.randn(2, 3, 8, 8), plain=True)
    assert [unit.name for unit in network.units] == ["one", "two", "three"]
    assert [unit.parameters for unit in network.units] == [112, 148 + 8, 148]
    assert [unit.in_shape for unit in network.units[1:]] == [(4, 4, 4), (4, 4, 4)]
    assert [unit.deletable for unit in network.units] == [False, True, True]


def test_a_model_that_keras_cannot_make_here_is_said_in_one_line() -> None:
    with pytest.raises(CheckpointError, match="not available with the torch backend") as error:
        load("keras:NASNetMobile?weights=none")
    assert "?weights=none" not in str(error.value)  # that was said


def test_the_example_of_an_application_is_of_its_pixels() -> None:
    """Noise around 0 would be a black image to a model that rescales 0 to 255 by itself."""
    from resanalysis.checkpoint.info import ModelInfo, Preprocessing
    from resanalysis.run.reading import _example

    raw = Preprocessing((0.0, 0.0, 0.0), (1 / 255,) * 3, (3, 8, 8))
    example = _example("keras:X", None, ModelInfo("keras:X", preprocessing=raw), None)
    assert isinstance(example, torch.Tensor)
    assert example.shape == (2, 3, 8, 8)
    assert 0 <= example.min() < 20
    assert 235 < example.max() <= 255


@pytest.mark.parametrize("name", ["ResNet50", "ResNet50V2", "MobileNetV3Small"])
def test_applications_take_what_their_preprocess_input_makes(name: str) -> None:
    """The three kinds that there are besides torchvision's: blue first, −1 to 1, and raw."""
    from resanalysis.checkpoint.keras_models import _preprocessing

    builder = getattr(keras.applications, name)
    found, reversed_channels = _preprocessing(builder, (3, 224, 224))
    raw = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype("float32")
    theirs = sys.modules[builder.__module__].preprocess_input(raw.copy())  # type: ignore[attr-defined]
    ours = (raw / 255 - np.array(found.mean)) / np.array(found.std)
    np.testing.assert_allclose(ours[..., ::-1] if reversed_channels else ours, theirs, atol=1e-4)
    assert reversed_channels == (name == "ResNet50")


def test_an_unknown_application_and_its_neighbours() -> None:
    with pytest.raises(CheckpointError, match="no model 'ResNet50v2'; near it: ResNet50V2"):
        load("keras:ResNet50v2")


def test_another_backend_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(CheckpointError, match="imported with jax behind it"):
        keras_on_torch()


@pytest.mark.nightly
def test_the_backend_is_set_where_keras_is_imported(tmp_path: Path) -> None:
    """In a process of its own: a backend is chosen once."""
    tiny().save(tmp_path / "m.keras")
    code = f"import resanalysis as ra; print(type(ra.load({str(tmp_path / 'm.keras')!r})).__name__)"
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert ran.stdout == "KerasModel\n", ran.stderr


def test_layers_within_a_list_whose_weights_are_missing_do_not_stay_random(tmp_path: Path) -> None:
    cells = [keras.layers.SimpleRNNCell(4), keras.layers.SimpleRNNCell(4)]
    sequence = keras.Input((5, 4))
    output = keras.layers.RNN(keras.layers.StackedRNNCells(cells))(sequence)
    saved, lacking = tmp_path / "a.keras", tmp_path / "b.keras"
    keras.Model(sequence, output).save(saved)

    def without(file: Any) -> None:
        del file["layers/rnn/cell/cells"]

    lacking.write_bytes(rewritten(saved.read_bytes(), without))
    with pytest.raises(CheckpointError, match="2 objects could not be loaded"):
        load(lacking)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("while True: pass", "the HDF5 library comes to no end with it"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ends with signal 11 on it"),
        ("import sys; sys.exit(3)", "ends with code 3 on it"),
    ],
)
def test_a_file_on_which_the_library_hangs_or_crashes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    """Which file does so depends on the version of HDF5; what becomes of its reader does not."""
    from resanalysis.checkpoint import hdf5_look, keras_files

    source = Path(hdf5_look.__file__).read_text()
    reader = tmp_path / "reader.py"
    reader.write_text(
        source.replace(
            "        return archive.read(", f"        {code}\n        return archive.read("
        )
    )
    tiny().save(tmp_path / "m.keras")
    monkeypatch.setattr(hdf5_look, "__file__", str(reader))
    monkeypatch.setattr(keras_files, "LONGEST_LOOK", 2)
    with pytest.raises(CheckpointError, match=reason):
        load(tmp_path / "m.keras")
