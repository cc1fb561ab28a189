"""A world that can be learnt in seconds: whatever is given and done, the same two frames follow."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from transformers import LlamaForCausalLM

from rlvr_world_hf.processors.base import state_columns
from rlvr_world_hf.processors.sensor import SensorWorldModelProcessor
from rlvr_world_hf.processors.video import VideoWorldModelProcessor
from rlvr_world_hf.rewards.pixel import MAEReward
from rlvr_world_hf.tokenizers.modeling_compressive_tokenizer import CompressiveTokenizer
from rlvr_world_hf.tokenizers.modeling_frame_tokenizer import FrameTokenizer
from rlvr_world_hf.training.grpo_config import WorldModelGRPOConfig
from rlvr_world_hf.training.grpo_trainer import WorldModelGRPOTrainer
from rlvr_world_hf.training.pretraining import build_policy


HORIZON = 2


def small_processor() -> VideoWorldModelProcessor:
    torch.manual_seed(0)
    codec = CompressiveTokenizer(
        block_out_channels=(16, 16),
        norm_num_groups=4,
        image_size=(16, 16),
        context_levels=(3, 2),
        dynamics_levels=(3, 2),
    )
    return VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [1.0, 1.0], action_bins=4, fps=2.0)


def single_step_processor() -> VideoWorldModelProcessor:
    """Of frames that are coded on their own, two of them as history."""
    torch.manual_seed(0)
    codec = FrameTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16), levels=(3, 2))
    return VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [1.0, 1.0], action_bins=4, observed_steps=2)


def sensor_processor() -> SensorWorldModelProcessor:
    """Of three sensors and no frames, two states as history."""
    return SensorWorldModelProcessor.from_ranges(
        [-1.0] * 3, [1.0] * 3, [0.0, 0.0], [1.0, 1.0], sensor_bins=6, action_bins=4, observed_steps=2, fps=2.0
    )


def joint_processor() -> VideoWorldModelProcessor:
    """Of the frames of `small_processor` and three sensors."""
    torch.manual_seed(0)
    codec = small_processor().codec
    ranges: dict[str, Any] = {"state_low": [-1.0] * 3, "state_high": [1.0] * 3, "sensor_bins": 6}
    return VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [1.0, 1.0], action_bins=4, fps=2.0, **ranges)


def small_policy(processor: Any, *, seed: int = 0) -> LlamaForCausalLM:
    return build_policy(
        processor.layout,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        seed=seed,
    )


def small_rows(processor: Any, *, count: int = 16, horizon: int = HORIZON, seed: int = 0) -> datasets.Dataset:
    """Rows whose reference is what the processor reads from code 0, and from sensor bin 0, everywhere."""
    numbers, layout = np.random.default_rng(seed), processor.layout
    given = layout.context_frames + layout.observed_steps
    frames = numbers.integers(0, 256, (count, given, 3, 16, 16), dtype=np.uint8)
    states = numbers.uniform(-1, 1, (count, given, 3)).astype(np.float32)
    context, *beside = [{"frames": frames, "sensors": states}[kind] for kind in processor.predicts]
    actions = numbers.random((count, layout.prompt_actions + horizon, 2), dtype=np.float32)
    world = processor.world_tokens(actions, horizon=horizon)
    lowest = world.where(world >= 0, processor.token_ranges(horizon)[:, 0])
    decoded = state_columns(processor.decode_state(lowest, context))
    reference = decoded["predicted"]
    if processor.predicts[0] == "frames":
        reference = (reference * 255).round().to(torch.uint8)
    columns: dict[str, Any] = {
        "context": context,
        "actions": actions,
        "reference": reference.numpy(),
        "reference_mask": np.ones((count, horizon), dtype=bool),
    }
    if beside:
        columns |= {"context_states": beside[0], "reference_states": decoded["predicted_states"].numpy()}

    def read(batch: dict[str, list[int]]) -> dict[str, Any]:
        return {name: [column[index] for index in batch["index"]] for name, column in columns.items()}

    return datasets.Dataset.from_dict({"index": list(range(count))}).with_transform(read)


class PartlyFlat:
    """A reward that tells the completions of about half of the prompts apart, and of the others none."""

    __name__ = "partly_flat"

    def __call__(self, predicted: Any, reference: Any, context: Any, **columns: Any) -> list[float]:
        pairs = zip(predicted, reference, context, strict=True)
        return [0.0 if given.sum() % 2 else -float((one - two / 255).abs().mean()) for one, two, given in pairs]


def settings(folder: Path | str, **changes: Any) -> WorldModelGRPOConfig:
    """Eight groups of four a batch of rollouts, two updates of it."""
    fields = {
        "per_device_train_batch_size": 16,
        "num_generations": 4,
        "updates_per_generation": 2,
        "max_steps": 4,
        "learning_rate": 3e-3,
        "logging_steps": 1,
        "save_steps": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 3,
    }
    return WorldModelGRPOConfig(str(folder), **(fields | changes))


def small_trainer(
    folder: Path | str,
    *,
    model: Any = None,
    rewards: Any = None,
    processor: Any = None,
    horizon: int = HORIZON,
    **changes: Any,
) -> Any:
    names = ("callbacks", "peft_config", "eval_dataset")
    arguments = {name: changes.pop(name) for name in names if name in changes}
    processor = processor or small_processor()
    return WorldModelGRPOTrainer(
        model or small_policy(processor),
        rewards or MAEReward(),
        settings(folder, **changes),
        small_rows(processor, horizon=horizon),
        processing_class=processor,
        **arguments,
    )


def parameters(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
