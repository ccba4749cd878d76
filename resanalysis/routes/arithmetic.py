"""In which arithmetic networks are measured."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from resanalysis.errors import ResanalysisError
from resanalysis.network import Arithmetic


@contextmanager
def computing_in(arithmetic: Arithmetic) -> Generator[None, None, None]:
    """A GPU's convolutions and products in TF32 inside only if asked for; as it was afterwards.

    PyTorch's own default is TF32 for convolutions and float32 for matrix products.
    """
    products: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    if hasattr(products, "fp32_precision"):  # torch 2.9: mixing it with the older flags raises
        flags = [(products, "fp32_precision"), (cudnn.conv, "fp32_precision")]
        wanted: Any = "ieee" if arithmetic == "float32" else "tf32"
    else:
        flags = [(products, "allow_tf32"), (cudnn, "allow_tf32")]
        wanted = arithmetic != "float32"
    before = [getattr(holder, name) for holder, name in flags]
    try:
        for holder, name in flags:
            setattr(holder, name, wanted)
        yield
    finally:
        for (holder, name), value in zip(flags, before, strict=True):
            setattr(holder, name, value)


def check_not_bf16(arithmetic: Arithmetic, what: str) -> None:
    """Raise a ``ResanalysisError`` for ``what`` cannot be measured in bf16, whose 8 bits are too few."""
    if arithmetic == "bf16":
        raise ResanalysisError(
            f"bf16 is for routes, which are only scored; {what} in float32 or tf32: leave the arithmetic "
            "(--arithmetic) out"
        )
