from pathlib import Path

import numpy as np
import pytest

from rlvr_world_hf import WorldModelPipeline
from rlvr_world_hf.hub.bundled import bundled_names, bundled_path
from rlvr_world_hf.hub.checkpoint import load_world_model, save_world_model
from rlvr_world_hf.hub.example import EXAMPLE, load_example
from rlvr_world_hf.worlds.pusht.simulator import collect_episode, policy_of
from tests.tiny import tiny_model, tiny_processor


ARRAYS = {
    "episode_id": "recorded",
    "frames": np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4),
    "actions": np.ones((2, 2), np.float32),
    "fps": 2.0,
}


def test_the_example_of_pusht_is_what_the_simulator_records() -> None:
    names = [name for name in bundled_names() if name.startswith("pusht-") and name != "pusht-codec"]
    assert {"pusht-base", "pusht-rlvr"} <= {*names}
    for name in names:
        example = load_example(bundled_path(name))
        seed, policy = int(example.episode_id.split("-")[-1]), policy_of(example.episode_id)
        settings = {"image_size": 64, "frame_interval": 1 / example.fps, "policies": {policy: 1}}
        episode = collect_episode(seed=seed, length=len(example), **settings)
        assert np.abs(example.frames.astype(int) - episode.frames).mean() < 0.05
        assert np.allclose(example.actions, episode.actions, atol=0.1)
        assert np.allclose(example.states, episode.states, atol=0.5)


def test_it_lies_with_the_checkpoint_or_with_the_card_above(tmp_path: Path) -> None:
    (tmp_path / "rlvr").mkdir()
    np.savez(tmp_path / EXAMPLE, **ARRAYS)
    above = load_example(tmp_path / "rlvr")
    assert above.episode_id == "recorded" and above.states is None
    assert np.array_equal(above.frames, ARRAYS["frames"])
    np.savez(tmp_path / "rlvr" / EXAMPLE, **ARRAYS | {"fps": 3.0, "states": np.zeros((2, 5), np.float32)})
    beside = load_example(tmp_path / "rlvr")
    assert beside.fps == 3.0 and beside.states.shape == (2, 5)


def test_a_checkpoint_without_one_says_so(tmp_path: Path) -> None:
    processor = tiny_processor()
    folder = save_world_model(tmp_path / "run" / "rlvr", tiny_model(processor), processor)
    for pipeline in (
        WorldModelPipeline(*load_world_model(folder)),
        WorldModelPipeline(tiny_model(processor), processor),
    ):
        with pytest.raises(FileNotFoundError, match="found none; .*Give frames and actions of your own"):
            pipeline.example()
    np.savez(folder / EXAMPLE, **ARRAYS)
    save_world_model(folder, tiny_model(processor), processor)  # replaces the weights, keeps what was recorded
    assert WorldModelPipeline.from_pretrained(folder).example().episode_id == "recorded"


@pytest.mark.parametrize(
    "arrays",
    [ARRAYS | {"frames": np.array([{"a": 1}], dtype=object)}, {"frames": ARRAYS["frames"]}, None],
    ids=["pickled", "without actions", "no archive"],
)
def test_what_is_no_example_is_refused(tmp_path: Path, arrays: dict | None) -> None:
    if arrays is None:
        (tmp_path / EXAMPLE).write_bytes(b"nothing of the kind")
    else:
        np.savez(tmp_path / EXAMPLE, **arrays)
    with pytest.raises(ValueError, match="to hold plain arrays `episode_id`"):
        load_example(tmp_path)
