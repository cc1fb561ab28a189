"""Tiny world models of frames, of sensors and of both, and episodes to begin from."""

from typing import Any

import numpy as np

from rlvr_world_hf import SensorWorldModelProcessor, WorldModelPipeline
from rlvr_world_hf.data import Episode
from tests.tiny import tiny_joint_processor, tiny_model, tiny_processor, tiny_sensor_processor


def make_pipeline(processor: Any) -> WorldModelPipeline:
    return WorldModelPipeline(tiny_model(processor), processor)


def make_episodes(kinds: tuple[str, ...], *, count: int = 3, length: int = 4) -> list[Episode]:
    numbers = np.random.default_rng(0)
    return [
        Episode(
            episode_id=str(index),
            frames=numbers.integers(0, 256, (length, 3, 16, 16), dtype=np.uint8) if "frames" in kinds else None,
            actions=numbers.uniform(0, 512, (length, 2)).astype(np.float32),
            fps=2.0,
            states=numbers.uniform(-1, 1, (length, 3)).astype(np.float32) if "sensors" in kinds else None,
        )
        for index in range(count)
    ]


WORLDS: dict[str, Any] = {
    "frames": tiny_processor,
    "observed frames": lambda: tiny_processor(observed_steps=2),
    "sensors": tiny_sensor_processor,
    "observed sensors": lambda: SensorWorldModelProcessor.from_ranges(
        [-1.0] * 3, [1.0] * 3, [0.0, 0.0], [512.0, 512.0], sensor_bins=16, action_bins=8, observed_steps=2
    ),
    "both": tiny_joint_processor,
}
