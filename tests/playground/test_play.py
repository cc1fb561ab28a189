"""What a play says of itself; how one is made and goes on is tested with the worlds that have one."""

import dataclasses
import pickle

import numpy as np
import pytest

from rlvr_world_hf.playground.play import METRICS, SIMULATOR, Plan, Play


GIVEN = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


def make(steps: int) -> Play:
    numbers = np.random.default_rng(0)
    shown = numbers.integers(0, 256, (steps, 4, 4, 3), dtype=np.uint8)
    return Play(
        seed=0,
        given=GIVEN,
        before=np.zeros((1, 2)),
        agent=np.zeros(2),
        actions=np.zeros((steps, 2)),
        truth=shown,
        predicted={"rlvr": shown[None]},
        metrics={"rlvr": {metric.name: np.zeros((1, steps)) for metric in METRICS}},
        repeated={"rlvr": np.zeros((1, steps), bool)},
    )


def test_a_play_shows_its_start_and_then_the_simulators_last_frame() -> None:
    start, play = make(0), make(3)
    assert start.steps == 0 and np.array_equal(start.now, GIVEN[-1])
    assert play.steps == 3 and np.array_equal(play.now, play.truth[-1]) and not np.array_equal(play.now, play.truth[0])
    assert play.replayed == 0 and SIMULATOR not in play.predicted


def test_a_play_can_be_sent_to_another_process() -> None:
    again = pickle.loads(pickle.dumps(make(2)))
    assert again.steps == 2 and np.array_equal(again.truth, make(2).truth)


def test_a_play_is_not_changed_but_followed_by_another() -> None:
    play = make(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        play.replayed = 1  # type: ignore[misc]
    assert dataclasses.replace(play, replayed=1).replayed == 1 and play.replayed == 0


def test_a_plan_may_have_steps_without_targets() -> None:
    assert Plan(aims=np.zeros((2, 2)), actions=np.zeros((2, 10))).targets == ()


def test_frames_are_measured_by_the_rewards() -> None:
    assert [metric.name for metric in METRICS] == ["mae", "psnr", "ssim"]
