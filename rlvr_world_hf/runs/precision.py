"""Precision of computation: bfloat16 on devices that have instructions for it, and only there."""

from __future__ import annotations

from typing import Any, Literal

import torch

from .keys import key


Bfloat16 = bool | Literal["auto"]
"""Type of a recipe's `bf16`."""

BF16: Any = key("auto", "Autocast to bfloat16: true, false, or auto, which is where the device computes it natively.")
"""The key `bf16` of the stages that train."""

CPU_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")
"""Instruction sets for bfloat16, as `torch.cpu.get_capabilities` names them; one of them is enough."""


def computes_bfloat16(device: torch.device | str) -> bool:
    """
    Whether a device multiplies in bfloat16 natively.

    A processor that emulates bfloat16 is slower than in float32: without AVX-512, a matrix product took 80 times as
    long.

    Args:
        device (`torch.device` or `str`):
            The device.

    Returns:
        `bool`: False for kinds of devices that this function does not know.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        # By default PyTorch counts emulation as support.
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in CPU_INSTRUCTIONS)
    return False


def use_bfloat16(setting: Bfloat16, device: torch.device | str) -> bool:
    """
    A recipe's setting as a yes or no.

    Args:
        setting (`bool` or `"auto"`):
            `"auto"` stands for [`computes_bfloat16`].
        device (`torch.device` or `str`):
            The device.

    Returns:
        `bool`: Whether to compute in bfloat16.

    Example:

    ```python
    >>> use_bfloat16(True, "cpu"), use_bfloat16(False, "cpu")
    (True, False)

    ```
    """
    return computes_bfloat16(device) if setting == "auto" else bool(setting)


def weights_dtype(setting: Bfloat16, device: torch.device | str, *, frozen: bool) -> torch.dtype:
    """
    Type that the weights of a policy are kept in while it is trained.

    Weights that are trained stay in float32 whatever the precision of computation: most updates are too small for
    bfloat16. Those that an adapter leaves as they are, are cast once, where they are loaded; autocast would cast them
    in every call.

    Args:
        setting (`bool` or `"auto"`):
            As of [`use_bfloat16`].
        device (`torch.device` or `str`):
            Where the policy computes.
        frozen (`bool`):
            Whether only an adapter is trained.

    Returns:
        `torch.dtype`: bfloat16 or float32.

    Example:

    ```python
    >>> weights_dtype(True, "cpu", frozen=True), weights_dtype(True, "cpu", frozen=False)
    (torch.bfloat16, torch.float32)

    ```
    """
    return torch.bfloat16 if frozen and use_bfloat16(setting, device) else torch.float32
