"""A file or a name → a trained model in eval mode, without running anything the file brings."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import os
import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resanalysis.models.recognise import (
    Architecture,
    architecture_named,
    common_key_names,
    recognised,
)

FORMAT = "resanalysis-checkpoint"
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module", "ema_state_dict", "ema")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_SUFFIXES = (".pt", ".pth", ".th", ".ckpt", ".bin", ".tar")


class CheckpointError(ValueError):
    """A model that cannot be loaded: what was wrong, where, and what to do."""


@dataclass(frozen=True)
class Preprocessing:
    """How images are normalised: ``(x / 255 − mean) / std`` per channel; input size (C, H, W)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: tuple[int, ...] | None = None


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a loaded model; ``load`` leaves it on the model as ``.resanalysis``."""

    name: str
    architecture: str | None = None
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None
    sha256: str | None = None


def load(
    spec: str | Path,
    *,
    arch: str | None = None,
    trust_pickle: bool = False,
    submodule: str | None = None,
) -> nn.Module:
    """Load a trained model, in eval mode, on the CPU.

    Parameters
    ----------
    spec : a file (``.pt .pth .th .ckpt .safetensors .pt2``) or a name: ``bundled:NAME``,
        ``torchvision:NAME``, ``timm:NAME`` (``?weights=none`` after either for random weights),
        ``hf:DIR``, ``python:package.module:factory``.
    arch : what a state dict belongs to (``resnet56``, ``resnet110v2``, ``resnet50``, ``timm:NAME``);
        left out, it is recognised from keys and shapes.
    trust_pickle : load a pickled module, which can run any code it likes.
    submodule : path of a part of the model to return instead of it.

    Returns
    -------
    Module : with a ``ModelInfo`` as its attribute ``resanalysis``.

    Raises
    ------
    CheckpointError : naming the file, what was found, and what to do.
    """
    text = str(spec)
    scheme, _, name = text.partition(":")
    makers = {
        "bundled": _bundled,
        "torchvision": _from_torchvision,
        "timm": _from_timm,
        "hf": _from_hugging_face,
        "python": _from_python,
    }
    if scheme in makers and name:
        model, info = makers[scheme](name)
    else:
        model, info = _from_file(Path(text), arch, trust_pickle)
    model.eval()
    _check_finite(model, text)
    if submodule:
        model = submodule_of(model, submodule)
    object.__setattr__(model, "resanalysis", info)
    return model


def submodule_of(model: nn.Module, path: str) -> nn.Module:
    """The part of a model at a module path.

    Raises
    ------
    CheckpointError : if there is none; lists paths that are spelt alike.
    """
    parts = dict(model.named_modules())
    if path in parts:
        return parts[path]
    near = difflib.get_close_matches(path, parts, n=5, cutoff=0.4)
    there = near or [name for name in parts if name and "." not in name]
    raise CheckpointError(f"the model has no part {path!r}; there are {', '.join(there)}")


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    *,
    architecture: Architecture,
    preprocessing: Preprocessing | None = None,
    classes: Sequence[str] | None = None,
    half: bool = False,
    **facts: Any,
) -> Path:
    """Write our own kind of checkpoint, which loads with no further argument.

    Parameters
    ----------
    half : store floats in half precision; they are single again when loaded.
    facts : recipe, seed, history, measured…: plain values, kept as they are.
    """
    path = Path(path)
    state = {
        key: value.detach().cpu().half() if half and value.is_floating_point() else value.cpu()
        for key, value in model.state_dict().items()
    }
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": 1,
        "architecture": {"name": architecture.name, "options": dict(architecture.options)},
        "state_dict": state,
        "classes": None if classes is None else list(classes),
        **facts,
    }
    if preprocessing is not None:
        content["preprocessing"] = {
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "input_size": list(preprocessing.input_size or ()),
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    torch.save(content, partial)
    os.replace(partial, path)
    return path


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Everything our own kind of checkpoint records, state dict included.

    Raises
    ------
    CheckpointError : if the file is none.
    """
    content = _read(Path(path), trust_pickle=False)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no checkpoint written by resanalysis")
    return content


def _from_file(path: Path, arch: str | None, trust_pickle: bool) -> tuple[nn.Module, ModelInfo]:
    if not path.exists():
        raise CheckpointError(
            f"there is no file {path}; a model is a file, or bundled:NAME, torchvision:NAME, "
            "timm:NAME, hf:DIR, python:MODULE:FACTORY"
        )
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; a Hugging Face folder is named hf:{path}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if path.suffix == ".pt2":
        return _exported(path), ModelInfo(str(path), sha256=digest)
    content = _read(path, trust_pickle)
    if isinstance(content, nn.Module):
        return content, ModelInfo(str(path), type(content).__name__, sha256=digest)
    if isinstance(content, Mapping) and content.get("format") == FORMAT:
        return _own(path, content, digest)
    state = _state_dict(path, content)
    if arch is not None:
        try:
            architecture = architecture_named(arch, common_key_names(state))
        except ValueError as error:
            raise CheckpointError(str(error)) from None
    else:
        architecture = recognised(common_key_names(state))
    if architecture is None:
        keys = ", ".join(list(state)[:3])
        raise CheckpointError(
            f"{path}: the architecture is not recognised from its {len(state)} tensors ({keys}, …); "
            "name it with --arch NAME, or give a function that makes the model: "
            "python:package.module:factory"
        )
    model = _made(architecture)
    _fill(model, common_key_names(state), path, architecture, named=arch is not None)
    return model, ModelInfo(str(path), str(architecture), sha256=digest)


def _made(architecture: Architecture) -> nn.Module:
    try:
        return architecture.make()
    except ImportError as error:
        raise _missing("timm", error) from None
    except (ValueError, TypeError) as error:
        raise CheckpointError(str(error)) from None


def _missing(extra: str, error: ImportError) -> CheckpointError:
    return CheckpointError(
        f'{extra} is not installed ({error}): pip install "resanalysis[{extra}]"'
    )


def _exported(path: Path) -> nn.Module:
    try:
        module = torch.export.load(path).module()
    except Exception as error:
        raise CheckpointError(
            f"{path} is no readable torch.export archive: {type(error).__name__}: "
            f"{_first_line(error)}"
        ) from None
    # An exported module refuses eval(); it is in the mode it was exported in.
    module.eval = lambda: module  # type: ignore[method-assign]
    module.train = lambda mode=True: module  # type: ignore[method-assign]
    return module


def _read(path: Path, trust_pickle: bool) -> Any:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {_first_line(error)}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except Exception as error:
        raise CheckpointError(_unreadable(path, error, trust_pickle)) from None


def _unreadable(path: Path, error: Exception, trust_pickle: bool) -> str:
    reason = _first_line(error)
    if "weights_only" in str(error) and not trust_pickle and _is_pickle(path):
        blocked = [
            line for line in str(error).splitlines() if "GLOBAL" in line or "nsupported" in line
        ]
        named = blocked[0].split("WeightsUnpickler error: ")[-1].strip() if blocked else reason
        return (
            f"{path} holds more than weights ({named.split('.')[0] if len(named) > 120 else named}); "
            "nothing of it was run. Save its state dict instead, or, if you trust whoever made it, add "
            "--trust-pickle"
        )
    if isinstance(error, pickle.UnpicklingError) or "Weights only load failed" in reason:
        reason = "not a file torch.save wrote"
    size = path.stat().st_size
    kind = (
        "" if path.suffix in _SUFFIXES else f" and {path.suffix or 'no suffix'} is no checkpoint's"
    )
    return (
        f"{path} is no readable checkpoint ({size:,} bytes{kind}): it is truncated, damaged or of "
        f"another kind ({reason})"
    )


def _is_pickle(path: Path) -> bool:
    """Whether the file is a whole pickle or zip archive, found without running it."""
    import pickletools
    import zipfile

    if zipfile.is_zipfile(path):
        return True
    try:
        with path.open("rb") as file:
            for _ in pickletools.genops(file):
                pass
    except Exception:
        return False
    return True


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    """The tensors of a bare or wrapped state dict, without the prefixes wrappers leave."""
    state: Any = content
    for _ in range(3):
        inner = next(
            (
                state[key]
                for key in _WRAPPERS
                if isinstance(state, Mapping) and isinstance(state.get(key), Mapping)
            ),
            None,
        )
        if inner is None:
            break
        state = inner
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(f"{path} holds no state dict but {_described(content)}")
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no state dict but {_described(content)}")
    stripped = True
    while stripped:
        stripped = False
        for prefix in _PREFIXES:
            if all(key.startswith(prefix) for key in tensors):
                tensors = {key[len(prefix) :]: value for key, value in tensors.items()}
                stripped = True
    return tensors


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a dict with the keys {', '.join(str(key) for key in list(content)[:5])}"
    return f"a {type(content).__name__}"


def _own(path: Path, content: Mapping[str, Any], digest: str) -> tuple[nn.Module, ModelInfo]:
    made = content["architecture"]
    architecture = Architecture(str(made["name"]), dict(made["options"]))
    model = _made(architecture)
    state = {
        key: value.float() if value.dtype is torch.float16 else value
        for key, value in content["state_dict"].items()
    }
    _fill(model, state, path, architecture, named=True)
    recorded = content.get("preprocessing")
    preprocessing = None
    if recorded:
        preprocessing = Preprocessing(
            tuple(recorded["mean"]),
            tuple(recorded["std"]),
            tuple(recorded["input_size"]) if recorded.get("input_size") else None,
        )
    classes = content.get("classes")
    return model, ModelInfo(
        path.stem,
        str(architecture),
        preprocessing,
        None if classes is None else tuple(classes),
        digest,
    )


def _fill(
    model: nn.Module,
    state: Mapping[str, Tensor],
    path: Path,
    architecture: Architecture,
    *,
    named: bool,
) -> None:
    """Load every tensor, or say which do not fit."""
    expected = model.state_dict()
    optional = {key for key in expected if key.endswith("num_batches_tracked")}
    missing = [key for key in expected if key not in state and key not in optional]
    unexpected = [key for key in state if key not in expected]
    misshapen = [
        key for key in state if key in expected and state[key].shape != expected[key].shape
    ]
    if not (missing or unexpected or misshapen):
        model.load_state_dict({key: state.get(key, expected[key]) for key in expected})
        return
    problems: list[str] = []
    if missing:
        problems.append(
            f"{len(missing)} of {len(expected) - len(optional)} tensors are missing, first {missing[0]}"
        )
    if unexpected:
        problems.append(f"{len(unexpected)} are not its own, first {unexpected[0]}")
    if misshapen:
        first = misshapen[0]
        problems.append(
            f"{len(misshapen)} have another shape, first {first}: "
            f"{tuple(state[first].shape)} in the file, {tuple(expected[first].shape)} in the model"
        )
    guess = recognised(state) if named else None
    advice = (
        f" Try --arch {guess}." if guess is not None and str(guess) != str(architecture) else ""
    )
    raise CheckpointError(
        f"cannot load {path.name} as {architecture}: {'; '.join(problems)}.{advice}"
    )


def _check_finite(model: nn.Module, name: str) -> None:
    for key, value in model.state_dict().items():
        if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all():
            bad = int((~value.isfinite()).sum())
            raise CheckpointError(
                f"{name}: {bad} of {value.numel()} values of {key} are NaN or infinite"
            )


def _bundled(name: str) -> tuple[nn.Module, ModelInfo]:
    folder = files("resanalysis") / "bundled"
    path = Path(str(folder / f"{name}.pt"))
    if not path.is_file():
        there = sorted(entry.name[:-3] for entry in folder.iterdir() if entry.name.endswith(".pt"))
        raise CheckpointError(f"no model bundled:{name} ships; there are {', '.join(there)}")
    return _from_file(path, None, False)


def _weights_choice(name: str) -> tuple[str, bool]:
    """A name and whether trained weights are wanted."""
    name, _, query = name.partition("?")
    if query and query not in {"weights=none", "weights=default"}:
        raise CheckpointError(
            f"?{query} is not known; write {name}?weights=none for random weights"
        )
    if query == "weights=none":
        warnings.warn(f"{name} has random weights", stacklevel=4)
    return name, query != "weights=none"


_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _from_torchvision(name: str) -> tuple[nn.Module, ModelInfo]:
    import torchvision

    name, trained = _weights_choice(name)
    if name not in torchvision.models.list_models():
        near = difflib.get_close_matches(name, torchvision.models.list_models(), n=3)
        raise CheckpointError(
            f"torchvision has no model {name!r}; near it: {', '.join(near) or 'none'}"
        )
    try:
        model = torchvision.models.get_model(name, weights="DEFAULT" if trained else None)
    except OSError as error:
        raise CheckpointError(
            f"the weights of torchvision:{name} could not be downloaded ({_first_line(error)}); give a "
            f"file with --arch {name}, or torchvision:{name}?weights=none for random ones"
        ) from None
    return model, ModelInfo(
        f"torchvision:{name}", name, Preprocessing(*_IMAGENET), None, state_sha256(model)
    )


def _from_timm(name: str) -> tuple[nn.Module, ModelInfo]:
    name, trained = _weights_choice(name)
    try:
        import timm
    except ImportError as error:
        raise _missing("timm", error) from None
    try:
        model = timm.create_model(name, pretrained=trained)
    except Exception as error:
        raise CheckpointError(
            f"timm:{name} cannot be made ({type(error).__name__}: {_first_line(error)}); random weights "
            f"are timm:{name}?weights=none"
        ) from None
    settings: Mapping[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    preprocessing = Preprocessing(
        tuple(settings.get("mean", _IMAGENET[0])),
        tuple(settings.get("std", _IMAGENET[1])),
        tuple(settings["input_size"]) if "input_size" in settings else None,
    )
    return model, ModelInfo(f"timm:{name}", name, preprocessing, None, state_sha256(model))


def _from_hugging_face(folder: str) -> tuple[nn.Module, ModelInfo]:
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise CheckpointError(
            f"hf:{folder}: there is no {path / 'config.json'}; name a folder that save_pretrained wrote"
        )
    try:
        import transformers
    except ImportError as error:
        raise _missing("transformers", error) from None
    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
        config.use_cache = False
        kind = getattr(transformers, (config.architectures or ["AutoModel"])[0])
        model = kind.from_pretrained(
            path, config=config, local_files_only=True, use_safetensors=None
        )
    except Exception as error:
        raise CheckpointError(
            f"hf:{folder} cannot be loaded: {type(error).__name__}: {_first_line(error)}"
        ) from None
    return model, ModelInfo(f"hf:{folder}", type(model).__name__, None, None, state_sha256(model))


def _from_python(name: str) -> tuple[nn.Module, ModelInfo]:
    module_name, _, factory_name = name.partition(":")
    if not factory_name:
        raise CheckpointError(f"python:{name}: write python:package.module:factory")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise CheckpointError(f"python:{name}: {error}") from None
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        raise CheckpointError(f"python:{name}: {module_name} has no function {factory_name}")
    model = factory()
    if not isinstance(model, nn.Module):
        raise CheckpointError(
            f"python:{name}: {factory_name}() returned a {type(model).__name__}, not a torch.nn.Module"
        )
    return model, ModelInfo(f"python:{name}", type(model).__name__, None, None, state_sha256(model))


def state_sha256(model: nn.Module) -> str:
    """Digest of a model's tensors, their names and their types."""
    digest = hashlib.sha256()
    for key, value in model.state_dict().items():
        digest.update(f"{key}{value.dtype}{tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
