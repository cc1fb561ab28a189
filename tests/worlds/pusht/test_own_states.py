import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.data.episode import Episode
from rlvr_world_hf.data.rows import window_rows
from rlvr_world_hf.evaluation.predictions import Predictions, RowBatch
from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.runs.recipe import load_recipe
from rlvr_world_hf.runs.stage import run_stages, try_stages
from rlvr_world_hf.runs.stages.collect import collect
from rlvr_world_hf.worlds.pusht import own_states
from rlvr_world_hf.worlds.pusht.ladder import read_frames, read_states
from rlvr_world_hf.worlds.pusht.own_states import Rollout, collect_episodes, grow_window, read_state, roll_out
from rlvr_world_hf.worlds.pusht.simulator import Recording, record_policy
from tests.tiny import tiny_model, tiny_processor


SETTINGS: dict[str, Any] = {"image_size": 64, "frame_interval": 0.5}


def perfect(seed: int, *, policy: str = "near_block", length: int = 16) -> tuple[Rollout, Episode]:
    """What a model would predict that makes no error, and the episode with the states of the block."""
    episode = record_policy(seed, length=length, policy=policy, states="agent_and_block", **SETTINGS).episode()
    agent = Episode(
        episode_id=episode.episode_id, frames=episode.frames, actions=episode.actions, fps=episode.fps,
        states=np.ascontiguousarray(episode.states[:, :2]),
    )  # fmt: skip
    return Rollout(recorded=agent, frames=episode.frames, agent=agent.states), episode


def test_of_a_perfect_model_what_follows_is_what_was_recorded_but_for_reading() -> None:
    """The pose is read within a unit and a degree or two; physics does not make more of it while nothing is pushed."""
    agents, blocks, angles = [], [], []
    for seed in range(12):
        rollout, episode = perfect(seed)
        grown = grow_window(rollout, 6, given=2, length=6, truth="read")
        assert grown is not None and grown.frames.shape == (6, 3, 64, 64)
        assert np.array_equal(grown.frames[:2], episode.frames[6:8]), "the given frames are those of the model"
        assert np.array_equal(grown.actions, episode.actions[6:12])
        places = read_frames(torch.from_numpy(grown.frames).float() / 255)
        true = read_states(torch.from_numpy(episode.states[6:12]))
        agents.append(np.abs(grown.states - episode.states[6:12, :2]).max())
        blocks.append((places - true)[2:, 2:4].norm(dim=-1).max().item() * 512)
        angles.append(np.degrees(np.abs(np.sin((places - true)[2:, 4].numpy()))).max())
    assert max(agents) < 2, "the agent goes the recorded way, as its velocity follows from what it did"
    assert np.median(blocks) < 3 and np.median(angles) < 3
    assert np.mean(np.array(blocks) < 20) > 0.8, "few pushes come out otherwise"


def test_an_episode_put_into_a_recorded_state_goes_on_as_recorded() -> None:
    """With the true pose in place of the read one nothing but the block's velocity in mid-push is lost."""
    recording = record_policy(3, length=5, policy="near_block", states="agent_and_block", **SETTINGS)
    *_, cosine, sine = recording.state
    state = np.array([*recording.state[:4], np.arctan2(sine, cosine), *recording.velocity])
    again = Recording(99, states="agent_and_block", **SETTINGS)
    again.put(state)
    assert np.abs(again.frame().astype(int) - recording.frame()).max() <= 1
    np.testing.assert_allclose(again.state, recording.state, atol=1e-6)
    action = np.linspace(-0.5, 0.5, 10)
    recording.act(action)
    again.act(action)
    np.testing.assert_allclose(again.state, recording.state, atol=0.5)
    assert np.array_equal(again.replay().state, again.state)
    with pytest.raises(ValueError, match="before the first action"):
        again.put(state)
    with pytest.raises(ValueError, match="6 of them finite"):
        Recording(0, **SETTINGS).put(np.array([*state[:6], np.nan]))


def test_the_velocity_of_the_agent_follows_from_what_it_did() -> None:
    recording = record_policy(5, length=9, policy="smooth", **SETTINGS)
    found = own_states._velocity(recording.actions)
    np.testing.assert_allclose(found, recording.velocity, atol=0.05)


def test_what_follows_may_be_what_was_recorded() -> None:
    rollout, episode = perfect(1)
    drifted = Rollout(recorded=rollout.recorded, frames=np.roll(rollout.frames, 4, axis=-1), agent=rollout.agent + 32)
    grown = grow_window(drifted, 6, given=2, length=6, truth="recorded")
    assert grown is not None
    assert np.array_equal(grown.frames[:2], drifted.frames[6:8]), "the given frames are off"
    assert np.array_equal(grown.frames[2:], episode.frames[8:12]) and np.array_equal(
        grown.actions, episode.actions[6:12]
    )
    assert np.array_equal(grown.states[2:], episode.states[8:12, :2])


def test_what_follows_a_drifted_frame_starts_from_where_it_shows_things() -> None:
    rollout, _ = perfect(1)
    drifted = Rollout(recorded=rollout.recorded, frames=np.roll(rollout.frames, 4, axis=-1), agent=rollout.agent + 32)
    grown = grow_window(drifted, 6, given=2, length=6, truth="read")
    assert grown is not None
    shown = read_frames(torch.from_numpy(grown.frames).float() / 255)
    away = (shown[2, :2] - shown[1, :2]) * 512
    moved = rollout.recorded.states[8] - rollout.recorded.states[7]
    assert (away - torch.from_numpy(moved)).norm() < 4, "a relative action leads as far from there"


def test_what_cannot_be_read_is_no_start() -> None:
    blank = np.full((3, 64, 64), 255, np.uint8)
    assert read_state(blank, velocity=np.zeros(2)) is None
    rollout, _ = perfect(1)
    frames = rollout.frames.copy()
    frames[7] = blank
    unreadable = Rollout(recorded=rollout.recorded, frames=frames, agent=rollout.agent)
    assert grow_window(unreadable, 6, given=2, length=6, truth="read") is None
    assert grow_window(unreadable, 8, given=2, length=6, truth="read") is not None
    lost = Rollout(recorded=rollout.recorded, frames=rollout.frames, agent=np.full_like(rollout.agent, np.nan))
    assert grow_window(lost, 6, given=2, length=6, truth="recorded") is None


@pytest.fixture
def model(tmp_path: Path) -> Path:
    processor = tiny_processor(image_size=64, observed_steps=1, action_law="relative")
    return WorldModelPipeline(tiny_model(processor), processor).save_pretrained(tmp_path / "model")


def oracle(batch: RowBatch, **_: Any) -> Predictions:
    """Predicts what was recorded."""
    readable = torch.ones(len(batch.indices), 1, dtype=torch.bool)
    return Predictions(predicted=batch.reference[:, None], readable=readable)


def test_windows_are_one_a_seed_whatever_others_there_are(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_states, "predict_autoregressively", oracle)
    settings: dict[str, Any] = {"model": model, "length": 5, "shallowest": 2, "deepest": 7, "share": 3}
    some = [*collect_episodes([6, 7, 8, 1_000_001], **settings)]
    depths = [int(window.episode_id.rpartition("-")[2]) for window in some]
    assert [depth in part for depth, part in zip(depths, [(2, 3), (4, 5), (6, 7), (6, 7)], strict=True)] == [True] * 4
    names = [window.episode_id.split("-")[2:4] for window in some]
    assert names == [["6", "own"]] * 3 + [["999999", "own"]], "three windows of one rollout"
    monkeypatch.setattr(own_states, "ROLLOUTS_AT_ONCE", 1)
    (alone,) = collect_episodes([7], **settings)
    assert alone.episode_id == some[1].episode_id and np.array_equal(alone.frames, some[1].frames)
    rows = window_rows(some, context_frames=1, observed_steps=1, horizon=3)
    assert len(rows) == 4 and rows[0]["context"].shape == (2, 3, 64, 64)
    assert np.array_equal(rows[2]["actions"], some[2].actions[1:]) and rows[0]["reference_states"].shape == (3, 2)


def test_frames_that_cannot_be_read_are_counted_and_left_out(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fading(batch: RowBatch, **_: Any) -> Predictions:
        """After the fourth predicted frame nothing is seen."""
        found = oracle(batch).predicted.clone()
        found[:, :, 4:] = 1.0
        return Predictions(predicted=found, readable=torch.ones(len(found), 1, dtype=torch.bool))

    monkeypatch.setattr(own_states, "predict_autoregressively", fading)
    settings: dict[str, Any] = {"model": model, "length": 4, "shallowest": 3, "deepest": 6, "share": 2}
    with caplog.at_level(logging.INFO):
        near, far = collect_episodes([0, 1], **settings)
    assert "-own-" in near.episode_id and "-recorded-" in far.episode_id
    assert "2 predicted frames could not be read and were left out; 1 of 2 windows are recorded" in caplog.text
    depth = int(far.episode_id.rpartition("-")[2])
    (recorded,) = [own_states.collect_episode(0, length=10, **SETTINGS)]
    assert np.array_equal(far.frames, recorded.frames[depth : depth + 4])


def test_a_model_is_rolled_out_from_its_own_frames(model: Path) -> None:
    pipeline = WorldModelPipeline.from_pretrained(str(model))
    episodes = [own_states.collect_episode(seed, length=8, **SETTINGS) for seed in (0, 1)]
    both = roll_out(pipeline, episodes, steps=3, window=2, seeds=[0, 1])
    assert both[0].frames.shape == (5, 3, 64, 64) and np.array_equal(both[1].frames[:2], episodes[1].frames[:2])
    assert not np.array_equal(both[0].frames[2:], episodes[0].frames[2:5])
    (alone,) = roll_out(pipeline, episodes[1:], steps=3, window=2, seeds=[1])
    assert np.abs(alone.frames.astype(int) - both[1].frames).max() <= 1, "whatever is predicted beside it"


def test_wrong_settings_are_named(model: Path, tmp_path: Path) -> None:
    for settings in ({"length": 2}, {"shallowest": 1}, {"deepest": 1}, {"share": 40}):
        with pytest.raises(ValueError, match="Expected a `length` beyond the 2 given frames"):
            next(collect_episodes([0], **{"model": model, "length": 4, **settings}))
    processor = tiny_processor(image_size=64, observed_steps=1)
    absolute = WorldModelPipeline(tiny_model(processor), processor).save_pretrained(tmp_path / "absolute")
    with pytest.raises(ValueError, match="relative actions, .*got one of the absolute law"):
        next(collect_episodes([0], model=absolute, length=4))


def test_other_weights_make_other_windows_wherever_they_lie(model: Path, tmp_path: Path) -> None:
    def fingerprint(place: Path | str, **keys: object) -> str:
        overrides = {"output_dir": str(tmp_path / "run"), "collect.model": str(place), **keys}
        return collect.fingerprint(load_recipe("pusht/own_states_debug", overrides=overrides))

    assert fingerprint("pusht-base") != fingerprint(model)
    assert fingerprint(model) == fingerprint(model.rename(tmp_path / "moved"))
    assert fingerprint("pusht-base") != fingerprint("pusht-base", **{"collect.truth": "recorded"})
    nowhere = load_recipe("pusht/own_states", overrides={"collect.model": "nowhere", "output_dir": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=r"collect\.model: expected a world model, got 'nowhere'"):
        try_stages(nowhere, ["collect"])


def test_the_recipe_has_a_window_an_episode() -> None:
    recipe = load_recipe("pusht/own_states")
    windows = recipe.windows
    assert (
        collect.read(recipe).arguments["length"] == windows.context_frames + windows.observed_steps + windows.horizon
    )
    try_stages(recipe, ["predict"])


@pytest.mark.slow  # the frames of PushT go through the same stages
def test_own_states_go_through_all_stages(cache: Path, tmp_path: Path) -> None:
    recipe = load_recipe("pusht/own_states_debug", overrides={"output_dir": str(tmp_path / "run")})
    run_stages(recipe, ["predict"])
    assert (recipe.output_dir / "rlvr").is_dir() and (recipe.output_dir / "results.json").is_file()
