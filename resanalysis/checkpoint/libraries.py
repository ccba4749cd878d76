"""Models by name: torchvision's, timm's, a Hugging Face folder's, a user's own function's."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

from resanalysis.checkpoint.errors import CheckpointError, first_line
from resanalysis.checkpoint.filling import missing
from resanalysis.checkpoint.hub import found
from resanalysis.checkpoint.info import ModelInfo
from resanalysis.checkpoint.mapped import mapped_files
from resanalysis.checkpoint.presets import (
    of_hugging_face,
    of_timm,
    of_torchvision,
    recorded_of,
)
from resanalysis.checkpoint.user_function import source_file, source_sha256, user_function
from resanalysis.datasets.text import longest
from resanalysis.errors import ResanalysisError, out_of_memory, raised
from resanalysis.models.architecture import Architecture
from resanalysis.network import WeightFiles


def weights_choice(name: str) -> tuple[str, bool]:
    """A name and whether trained weights are wanted."""
    name, _, query = name.partition("?")
    if query and query not in {"weights=none", "weights=default"}:
        raise CheckpointError(
            f"?{query} is not known; write {name}?weights=none for random weights"
        )
    if query == "weights=none":
        warnings.warn(f"{name} has random weights", stacklevel=4)
    return name, query != "weights=none"


def from_torchvision(name: str) -> tuple[nn.Module, ModelInfo]:
    import torchvision

    name, trained = weights_choice(name)
    if name not in torchvision.models.list_models():
        near = difflib.get_close_matches(name, torchvision.models.list_models(), n=3)
        raise CheckpointError(
            f"torchvision has no model {name!r}; near it: {', '.join(near) or 'none'}"
        )
    try:
        builder = torchvision.models.get_model_builder(name)
        known = inspect.signature(builder).parameters
        # A detector without weights would fetch those of its backbone.
        bare = {"weights_backbone": None} if "weights_backbone" in known and not trained else {}
        model = torchvision.models.get_model(name, weights="DEFAULT" if trained else None, **bare)
    except OSError as error:
        raise CheckpointError(
            f"the weights of torchvision:{name} could not be downloaded ({first_line(error)}); give a "
            f"file with --arch {name}, or torchvision:{name}?weights=none for random ones"
        ) from None
    return model, ModelInfo(
        f"torchvision:{name}",
        name,
        of_torchvision(name),
        sha256=state_sha256(model),
        built=Architecture(f"torchvision:{name}"),
        recorded=recorded_of(name) if trained else None,
    )


def from_timm(name: str) -> tuple[nn.Module, ModelInfo]:
    name, trained = weights_choice(name)
    try:
        import timm
    except ImportError as error:
        raise missing("timm", error) from None
    try:
        model = timm.create_model(name, pretrained=trained)
    except Exception as error:
        raise CheckpointError(
            f"timm:{name} cannot be made ({type(error).__name__}: {first_line(error)}); random weights "
            f"are timm:{name}?weights=none"
        ) from None
    return model, ModelInfo(
        f"timm:{name}",
        name,
        of_timm(model),
        sha256=state_sha256(model),
        built=Architecture(f"timm:{name}"),
    )


def from_hugging_face(
    folder: str, *, streamed: bool = False, download: bool = False
) -> tuple[nn.Module, ModelInfo]:
    """A folder's model; with ``streamed``, its weights stay in their files and are read as they are used.

    With ``download``, ``folder`` is a name of the hub.
    """
    there = found(folder, download=download)
    path = there.folder
    if not (path / "config.json").is_file():
        raise CheckpointError(
            f"hf:{folder}: there is no {path / 'config.json'}; name a folder that save_pretrained wrote"
        )
    try:
        import transformers
    except ImportError as error:
        raise missing("transformers", error) from None
    files = mapped_files(path) if streamed else None
    try:
        # False, or it would ask on a terminal whether to run the code that a folder brings.
        config = transformers.AutoConfig.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
        config.use_cache = False
        where, tensors = (path, None) if files is None else (None, files.tensors)
        with _without_bars():
            model = _class_of(config).from_pretrained(
                where,
                config=config,
                state_dict=tensors,
                local_files_only=True,
                use_safetensors=None,
            )
    except Exception as error:
        raise CheckpointError(
            f"hf:{folder} cannot be loaded: {type(error).__name__}: {first_line(error)}"
        ) from None
    if files is not None:
        files.check_hold(model, f"hf:{folder}")
        files.release_after(model.modules())
    return model, ModelInfo(
        f"hf:{folder}",
        type(model).__name__,
        of_hugging_face(path),
        sha256=state_sha256(model, files),
        revision=there.revision,
        tokenizer=str(path),
        positions=longest(config),
        vocabulary=_vocabulary(model),
        predicts=_predicts(type(model).__name__),
        files=files,
    )


def _class_of(config: Any) -> Any:
    """The class that a folder names. Any attribute of transformers could stand there, and would be called."""
    import transformers

    name = (config.architectures or ["AutoModel"])[0]
    kind: Any = getattr(transformers, name, None)
    known = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
    if not known and name != "AutoModel":
        raise ResanalysisError(f"its architecture {name!r} is no model of transformers")
    return kind


@contextmanager
def _without_bars() -> Generator[None, None, None]:
    """Transformers draws a bar of its own on standard error, also where the user asked for quiet."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _predicts(architecture: str) -> Literal["next", "masked", "none"] | None:
    """What of a text a model of transformers predicts, as the name of its class says it."""
    if architecture.endswith("ForMaskedLM"):
        return "masked"
    if architecture.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")):
        return "next"
    others = (
        "Model",
        "Classification",
        "ForQuestionAnswering",
        "ForMultipleChoice",
        "ForPreTraining",
    )
    return "none" if architecture.endswith(others) else None


def _vocabulary(model: Any) -> int | None:
    """How many token ids a Hugging Face model has an embedding for; ``None`` if it takes none."""
    try:
        table = model.get_input_embeddings()
    except (NotImplementedError, AttributeError):
        return None
    return table.num_embeddings if isinstance(table, nn.Embedding) else None


def from_python(name: str) -> tuple[nn.Module, ModelInfo]:
    _, _, factory_name = name.partition(":")
    try:
        factory = user_function(name, "python:")
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    try:
        model = factory()
    except (Exception, SystemExit) as error:
        if out_of_memory(error):
            raise
        raise CheckpointError(
            f"python:{name}: {factory_name}() raised {raised(error, source_file(factory))}; it is called "
            "without arguments and returns the model"
        ) from error
    if not isinstance(model, nn.Module):
        raise CheckpointError(
            f"python:{name}: {factory_name}() returned a {type(model).__name__}, not a torch.nn.Module"
        )
    # The weights alone do not say what forward does with them: another version of the code is another model.
    digest = hashlib.sha256(f"{state_sha256(model)}{source_sha256(factory)}".encode()).hexdigest()
    return model, ModelInfo(f"python:{name}", type(model).__name__, sha256=digest)


def state_sha256(model: nn.Module, files: WeightFiles | None = None) -> str:
    """Digest of a model's tensors, their names and their types; each is let go of where it is in ``files``."""
    digest = hashlib.sha256()
    for key, value in model.state_dict().items():
        # The same bytes under another name, or in another shape, are another model.
        digest.update(f"{key}{value.dtype}{tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
        if files is not None:
            files.release()
    return digest.hexdigest()
