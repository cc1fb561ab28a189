from pathlib import Path

import pytest

from rlvr_world_hf.pipeline import WorldModelPipeline
from tests.tiny import tiny_model, tiny_processor


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of PushT with relative actions, at random weights; what is recorded goes to the test's own cache."""
    monkeypatch.setenv("RLVR_WORLD_CACHE", str(tmp_path / "cache"))
    processor = tiny_processor(image_size=32, action_law="relative")
    return WorldModelPipeline(tiny_model(processor), processor).save_pretrained(tmp_path / "model")
