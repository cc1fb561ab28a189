"""The weights that the official tokenizers were given when their outputs were recorded: golden/README.md, 4.2."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch


def recorded_config(golden: Path, case: str) -> dict[str, Any]:
    return json.loads((golden / f"tok_{case}_config.json").read_text())["config"]


def recorded_shapes(golden: Path, case: str) -> list[tuple[str, list[int]]]:
    kind, size = case.split("_")
    if size == "official":
        entries = json.loads((golden / f"state_dict_spec_{kind}_official.json").read_text())["entries"]
        return [(entry["name"], entry["shape"]) for entry in entries]
    return json.loads((golden / f"tok_{case}_config.json").read_text())["state_dict"]


def recorded_weights(shapes: Sequence[tuple[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
    """Under the official names."""
    weights = {}
    for name, shape in shapes:
        noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        if name.endswith("pos_emb"):
            noise *= np.float32(0.3)
        elif len(shape) > 1:
            gain = 2 if name.startswith(("quant_conv", "quant_linear")) else 1
            noise *= np.float32(gain / np.sqrt(np.prod(shape[1:])))
        else:
            noise = np.float32(0.1) * noise + np.float32(name.endswith(".weight"))
        weights[name] = torch.from_numpy(noise)
    return weights
