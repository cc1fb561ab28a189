"""Small models that rewards need, in folders that last as long as the process."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch


@cache
def _place() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rlvr_world_hf_models_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def backbone_folder() -> str:
    """A vision model of random weights."""
    from transformers import ResNetConfig, ResNetModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        ResNetModel(config).save_pretrained(_place() / "tiny")
    return str(_place() / "tiny")


@cache
def inverse_folder() -> str:
    """An inverse model of random weights, for frames of 64 x 64 and two numbers from 0 to 512."""
    from rlvr_world_hf.rewards.inverse_dynamics import InverseDynamicsConfig, InverseDynamicsModel

    ranges = {"action_low": [0.0, 0.0], "action_high": [512.0, 512.0]}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        InverseDynamicsModel(InverseDynamicsConfig(**ranges, width=8, hidden_size=8)).save_pretrained(
            _place() / "run" / "inverse"
        )
    return str(_place() / "run")
