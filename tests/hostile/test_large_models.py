"""A model of 4 GiB in 2 GiB of memory: ``--stream-weights`` under a limit that the system enforces.

``make test-hostile`` sets the size; the ordinary suite leaves this out, as writing and running it takes
minutes.

The limit is ``RLIMIT_DATA``: all memory that a process may write to, torch and its libraries included. The
weights' files are mapped for reading and do not count; what is read of them is bounded by the second number,
the most memory that was resident (``ru_maxrss``).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

GIB = float(os.environ.get("RESANALYSIS_HOSTILE_GIB", "0"))
LIMIT = 2 * 2**30
# A layer of this width has 256 MiB of float32, three quarters of it in its MLP.
WIDTH, INNER, WORDS = 2048, 8192, 512
PER_LAYER = 4 * (4 * WIDTH**2 + 3 * WIDTH * INNER)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not GIB, reason="RESANALYSIS_HOSTILE_GIB says how large: make test-hostile"),
    pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux"),
    pytest.mark.timeout(7200),
]


def written(folder: Path, layers: int) -> int:
    """A Llama of so many layers in a file each, as ``save_pretrained`` would leave it: its bytes."""
    transformers = pytest.importorskip("transformers", reason="the extra is not installed")
    config = transformers.LlamaConfig(
        hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=layers, num_attention_heads=16,
        num_key_value_heads=16, vocab_size=WORDS, max_position_embeddings=64, bos_token_id=0,
        eos_token_id=0, tie_word_embeddings=True, architectures=["LlamaForCausalLM"], dtype="float32",
    )  # fmt: skip
    config.save_pretrained(folder)
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    places: dict[str, list[str]] = {}
    for key in dict(model.named_parameters()):
        places.setdefault(key.split(".")[2] if ".layers." in key else "rest", []).append(key)
    noise = torch.randn(WIDTH * INNER, generator=torch.Generator().manual_seed(0)) * 0.02
    index: dict[str, str] = {}
    for place, keys in places.items():
        shard: dict[str, torch.Tensor] = {}
        for key in keys:
            shape = model.get_parameter(key).shape
            values = noise.roll(len(index) + len(shard))[: shape.numel()].reshape(shape)
            shard[key] = torch.ones(shape) if len(shape) == 1 else values.contiguous()
        save_file(shard, folder / f"model-{place}.safetensors", metadata={"format": "pt"})
        index |= dict.fromkeys(keys, f"model-{place}.safetensors")
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    told = {"metadata": {"total_size": size}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(told))
    return size


def limited(*words: str) -> tuple[int, str, float]:
    """Exit code, standard error and most resident bytes of a command under the limit."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))

    command = [sys.executable, "-m", "resanalysis", *words]
    # Two arenas: glibc sets memory aside for each thread that allocates, which says nothing of a model.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, preexec_fn=limit, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, said, used.ru_maxrss * 1024


def test_a_model_twice_as_large_as_memory_is_taken_apart(tmp_path: Path) -> None:
    layers = round(GIB * 2**30 / PER_LAYER)
    folder = tmp_path / "model"
    size = written(folder, layers)
    tokens = np.random.default_rng(0).integers(0, WORDS, (2, 8))
    np.savez(tmp_path / "tokens.npz", input_ids=tokens)
    words = ("lesion", f"hf:{folder}", "--data", f"tokens:{tmp_path / 'tokens.npz'}", "--quiet")
    started = time.perf_counter()
    code, said, most = limited(*words, "--stream-weights", "--out", str(tmp_path / "streamed"))
    seconds = time.perf_counter() - started
    assert code == 0, said
    table = pd.read_csv(tmp_path / "streamed" / "lesion.csv")
    assert len(table) == 2 * layers + 1
    timings = json.loads((tmp_path / "streamed" / "manifest.json").read_text())["lesion"]["timings"]
    print(
        f"\n{size / 2**30:.2f} GiB of weights, {2 * layers} units: {most / 2**30:.2f} GiB resident at most, "
        f"{seconds:.0f} s ({', '.join(f'{name} {spent:.0f}' for name, spent in timings.items())})"
    )
    assert most < LIMIT
    if size > LIMIT:  # else it fits, and the limit would not show
        code, said, _ = limited(*words, "--out", str(tmp_path / "whole"))
        assert code != 0
        assert "memory" in said
