from typing import Any

import pytest

from rlvr_world_hf import SensorWorldModelProcessor, VideoWorldModelProcessor, WorldModelPipeline
from rlvr_world_hf.data import Episode
from tests.environments.worlds import WORLDS, make_episodes, make_pipeline
from tests.tiny import tiny_processor


@pytest.fixture(scope="session", params=WORLDS)
def world(request: pytest.FixtureRequest) -> tuple[WorldModelPipeline, list[Episode]]:
    """A world model and episodes to begin from."""
    pipeline = make_pipeline(WORLDS[request.param]())
    return pipeline, make_episodes(pipeline.processor.predicts)


@pytest.fixture(scope="session")
def unit_worlds() -> dict[str, tuple[WorldModelPipeline, list[Episode]]]:
    """Those whose actions are in [-1, 1], as gymnasium recommends."""
    codec = tiny_processor().codec
    ranges: tuple[Any, ...] = ([-1.0] * 2, [1.0] * 2)
    processors = {
        "frames": VideoWorldModelProcessor.from_codec(codec, *ranges, action_bins=8, fps=2.0),
        "sensors": SensorWorldModelProcessor.from_ranges(
            [-1.0] * 3, [1.0] * 3, *ranges, sensor_bins=16, action_bins=8
        ),
        "both": VideoWorldModelProcessor.from_codec(
            codec, *ranges, action_bins=8, state_low=[-1.0] * 3, state_high=[1.0] * 3, sensor_bins=16
        ),
    }
    return {
        name: (make_pipeline(processor), make_episodes(processor.predicts)) for name, processor in processors.items()
    }
