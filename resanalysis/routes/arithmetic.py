"""In which arithmetic networks are evaluated."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from resanalysis.network import Precision


@contextmanager
def arithmetic(precision: Precision) -> Generator[None, None, None]:
    """A GPU's convolutions and products in TF32 inside only if asked for; as it was afterwards.

    PyTorch's own default is TF32 for convolutions and float32 for matrix products.
    """
    products: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    if hasattr(products, "fp32_precision"):  # torch 2.9: mixing it with the older flags raises
        flags = [(products, "fp32_precision"), (cudnn.conv, "fp32_precision")]
        wanted: Any = "ieee" if precision == "float32" else "tf32"
    else:
        flags = [(products, "allow_tf32"), (cudnn, "allow_tf32")]
        wanted = precision != "float32"
    before = [getattr(holder, name) for holder, name in flags]
    try:
        for holder, name in flags:
            setattr(holder, name, wanted)
        yield
    finally:
        for (holder, name), value in zip(flags, before, strict=True):
            setattr(holder, name, value)
