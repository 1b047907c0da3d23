"""Which weights a model has, whatever its folder, its name and the library that loaded it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

SAMPLED_VALUES = 256  # of each parameter: reading all of a large model would take seconds

_PRECISIONS = {"torch.float32": "fp32", "torch.float16": "fp16", "torch.bfloat16": "bf16"}


def fingerprint(model: nn.Module) -> str:
    """A digest of a model's parameters, 16 hexadecimal digits.

    Names are left out, since releases of transformers rename parameters; so is the order.
    """
    digests = sorted(_digest(parameter) for parameter in model.parameters())
    return hashlib.blake2b(b"".join(digests), digest_size=8).hexdigest()


def precision(model: nn.Module) -> str:
    """How the parameters are stored: ``fp32``, ``fp16``, ``bf16``, or torch's own word."""
    dtype = next((str(parameter.dtype) for parameter in model.parameters()), "torch.float32")
    return _PRECISIONS.get(dtype, dtype.removeprefix("torch."))


def _digest(parameter: Tensor) -> bytes:
    values = parameter.detach().reshape(-1)
    sampled = values[:: max(1, len(values) // SAMPLED_VALUES)].cpu().float().numpy()
    shape = ",".join(map(str, parameter.shape)).encode()
    return hashlib.blake2b(
        shape + b":" + sampled.astype(np.dtype("<f4")).tobytes(), digest_size=16
    ).digest()
