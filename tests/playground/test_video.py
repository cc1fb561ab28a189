from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf import playground as module
from rlvr_world_hf.data.pusht import MARGIN, REACH, WORLD_SIZE, Recording, record_policy
from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.playground import INK, Playground, draw_start, enlarge, target_at
from tests.tiny import tiny_model, tiny_processor


PROCESSOR = tiny_processor(observed_steps=1)
PIPELINES = {
    name: WorldModelPipeline(tiny_model(PROCESSOR, seed=seed), PROCESSOR) for seed, name in enumerate(("base", "rlvr"))
}
SEED, FAR = 3, [(100.0, 400.0), (450.0, 60.0)]


class Recorder:
    """A pipeline that predicts grey frames, a little lighter each call, and keeps what it was called with."""

    def __init__(self, processor: Any = PROCESSOR) -> None:
        self.processor = processor
        self.calls: list[SimpleNamespace] = []

    def __call__(self, frames: torch.Tensor, actions: np.ndarray, *, horizon: int, **sampling: float) -> torch.Tensor:
        self.calls.append(SimpleNamespace(frames=frames, actions=actions, horizon=horizon, **sampling))
        return torch.full((1, horizon, 3, 16, 16), 0.1 * len(self.calls))


@pytest.fixture(scope="module")
def playground() -> Playground:
    return Playground(PIPELINES, horizon=2, max_steps=5, scripted_steps=3)


@pytest.fixture(scope="module")
def play(playground: Playground) -> module.Play:
    return playground.play(seed=SEED, targets=FAR)


def replay(actions: np.ndarray) -> Iterator[Recording]:
    """The world at the start and after each action."""
    recording = record_policy(SEED, length=3, image_size=16, frame_interval=0.5)
    yield recording
    for action in actions:
        recording.hold(action)
        yield recording


def test_simulator_shows_what_the_actions_do(play: module.Play) -> None:
    frames = [recording.frame().transpose(1, 2, 0) for recording in replay(play.actions)]
    assert len(frames) == 6 and not np.array_equal(frames[0], frames[-1])
    assert np.abs(play.frames["simulator"].astype(int) - np.stack(frames)).max() <= 1  # actions rounded to float32


def test_a_far_target_is_walked_to_in_steps_within_reach(playground: Playground) -> None:
    (play, target) = playground.play(seed=SEED, targets=[FAR[0]]), np.array(FAR[0])
    agents = np.stack([recording.agent.copy() for recording in replay(play.actions)])
    assert np.array_equal(agents[0], play.agent)
    assert 1 < len(play.actions) == np.ceil(np.linalg.norm(target - agents[0]) / REACH)
    assert np.linalg.norm(play.actions - agents[:-1], axis=1).max() <= REACH + 1e-2
    assert np.linalg.norm(agents[-1] - target) < np.linalg.norm(agents[0] - target) - 100


def test_play_ends_at_the_last_step_and_leaves_the_other_targets_out(playground: Playground) -> None:
    play = playground.play(seed=SEED, targets=FAR * 10)
    assert len(play.actions) == 5 and play.targets == tuple(FAR)
    assert {name: frames.shape for name, frames in play.frames.items()} == dict.fromkeys(
        ("simulator", "base", "rlvr"), (6, 16, 16, 3)
    )


def test_targets_beyond_the_walls_lie_at_them(playground: Playground) -> None:
    play = playground.play(seed=SEED, targets=[(-100.0, 1000.0)])
    assert play.targets == ((MARGIN, WORLD_SIZE - MARGIN),)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_more_targets_leave_the_steps_before_as_they_are(playground: Playground, temperature: float) -> None:
    near = tuple(playground.play(seed=SEED).agent + 5)  # a single step, which cuts its window short
    short, longer = (
        playground.play(seed=SEED, targets=targets, temperature=temperature) for targets in ([near], [near, *FAR])
    )
    steps = len(short.actions)
    assert steps == 1 < playground.horizon
    for name, frames in short.frames.items():
        assert np.array_equal(longer.frames[name][: steps + 1], frames), name


def test_models_predict_in_windows_on_their_own_frames(play: module.Play) -> None:
    recorder = Recorder()
    own = Playground({"rlvr": recorder}, horizon=2, max_steps=5, scripted_steps=3)  # type: ignore[dict-item]
    own.play(seed=SEED, targets=FAR, temperature=0.5, sampling_seed=7)
    scripted = record_policy(SEED, length=4, image_size=16, frame_interval=0.5).episode()
    given, actions = torch.from_numpy(scripted.frames[2:]) / 255, np.concatenate([scripted.actions[:3], play.actions])
    first, second, third = recorder.calls
    assert [(call.horizon, call.seed, call.temperature) for call in recorder.calls] == [
        (2, 7, 0.5),
        (2, 8, 0.5),
        (1, 9, 0.5),
    ]
    assert torch.equal(first.frames, given)
    assert torch.equal(second.frames, torch.full((2, 3, 16, 16), 0.1))
    assert torch.equal(third.frames, torch.full((2, 3, 16, 16), 0.2))
    for call, begin in ((first, 3), (second, 5), (third, 7)):  # from the last given frame on, frame 3 being the start
        assert np.array_equal(call.actions, actions[begin : begin + call.horizon])


def test_error_is_that_of_the_pixels_against_the_simulators(play: module.Play) -> None:
    for name in ("base", "rlvr"):
        difference = play.frames[name][1:].astype(float) - play.frames["simulator"][1:]
        expected = np.abs(difference).mean(axis=(1, 2, 3)) / 255
        assert np.abs(play.errors[name] - expected).max() < 2e-3  # shown frames are rounded
        assert play.errors[name].shape == (5,) and expected.min() > 0.01
    assert not np.array_equal(play.errors["base"], play.errors["rlvr"])


def test_without_targets_there_is_the_start_alone(playground: Playground) -> None:
    play = playground.play(seed=SEED)
    assert play.targets == () and play.actions.shape == (0, 2)
    assert all(np.array_equal(frames, play.frames["simulator"]) for frames in play.frames.values())
    assert all(len(frames) == 1 for frames in play.frames.values()) and play.errors["rlvr"].shape == (0,)


def test_another_seed_is_another_start(playground: Playground, play: module.Play) -> None:
    other = playground.play(seed=SEED + 1).frames["simulator"][0]
    assert not np.array_equal(other, play.frames["simulator"][0])


def test_a_model_without_observed_steps_sees_the_start_frame_alone() -> None:
    recorder = Recorder(tiny_processor())
    Playground({"rlvr": recorder}, horizon=2).play(seed=0, targets=[(256.0, 256.0)])  # type: ignore[dict-item]
    assert recorder.calls[0].frames.shape == (1, 3, 16, 16)
    assert len(recorder.calls[0].actions) == recorder.calls[0].horizon


def test_a_run_is_loaded_from_its_folder(tmp_path: Path, playground: Playground, play: module.Play) -> None:
    for name, pipeline in PIPELINES.items():
        pipeline.save_pretrained(tmp_path / name)
    loaded = Playground.from_pretrained(tmp_path, device="cpu", horizon=2, max_steps=5)
    loaded.scripted_steps = playground.scripted_steps
    again = loaded.play(seed=SEED, targets=FAR)
    assert all(np.array_equal(again.frames[name], frames) for name, frames in play.frames.items())


def test_only_a_place_on_the_hub_is_looked_for_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(place: Any, **_: Any) -> Recorder:
        asked.append(place)
        return Recorder()

    monkeypatch.setattr(WorldModelPipeline, "from_pretrained", load)
    with pytest.raises(FileNotFoundError, match="Run `make quickstart` first"):
        Playground.from_pretrained("owner/name")
    assert asked == []
    Playground.from_pretrained("hf://owner/name")
    assert asked == ["owner/name-base", "owner/name-rlvr"]


@pytest.mark.parametrize(
    ("pipelines", "settings", "words"),
    [
        ({}, {}, "Expected models by name"),
        ({"simulator": Recorder()}, {}, "none of them 'simulator'"),
        ({"base": Recorder(), "rlvr": Recorder(tiny_processor())}, {}, "checkpoints of the same run"),
        ({"base": Recorder(tiny_processor(image_size=24))}, {}, "24x24"),
        ({"base": Recorder()}, {"horizon": 0}, "at least 1, got 0, 12 and 8"),
    ],
)
def test_what_cannot_be_played_is_refused(pipelines: Any, settings: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Playground(pipelines, **settings)


def test_pixels_are_repeated_and_not_smoothed() -> None:
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = enlarge(frame, 6)
    assert large.shape == (6, 6, 3) and large.dtype == np.uint8
    assert (large[:3, 3:] == frame[0, 1]).all() and (large[3:, :3] == frame[1, 0]).all()
    with pytest.raises(ValueError, match="multiple of 2 and 2, got 5"):
        enlarge(frame, 5)


def test_start_shows_where_the_steps_lead(play: module.Play) -> None:
    plain, drawn = enlarge(play.frames["simulator"][0], 256), draw_start(play, 256)
    assert drawn.shape == (256, 256, 3)
    for x, y in play.actions[:3] / 2:
        assert tuple(drawn[round(y), round(x)]) == INK
    x, y = np.array(play.targets[0]) / 2
    assert tuple(drawn[round(y) - 6, round(x)]) == INK  # beside the number
    assert tuple(plain[round(y) - 6, round(x)]) != INK
    x, y = target_at(10, 20, 256)
    assert (x / 2, y / 2) == (10.5, 20.5)
