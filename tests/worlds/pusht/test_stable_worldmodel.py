"""
Our world against PushT of stable-worldmodel (0.1.1, `envs/pusht/env.py`, MIT), from the same states by the same
actions. `stable_worldmodel.npz` holds what theirs did, recorded with its own pymunk 7; the other tests need the extra
`swm` and run it on the pymunk 6 of gym-pusht.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlvr_world_hf.data.opencv import load_opencv
from rlvr_world_hf.worlds.pusht.behaviours import BEHAVIOURS
from rlvr_world_hf.worlds.pusht.physics import render_frame, set_state
from rlvr_world_hf.worlds.pusht.simulator import Recording


RECORDED = Path(__file__).with_name("stable_worldmodel.npz")
POLICIES = ("near_block", "smooth", "scripted")
STEPS = 100

pytestmark = [
    # Of stable-worldmodel 0.1.1: it misses games it does not need here, and asks gymnasium whether plain numbers fit.
    pytest.mark.filterwarnings("ignore:ale-py not found"),
    pytest.mark.filterwarnings("ignore:.*Casting input x to numpy array"),
]


def state_of(world: Any) -> np.ndarray:
    """Agent, block, its angle, the agent's velocity: what their observation holds."""
    agent, block = world.agent, world.block
    return np.array([*agent.position, *block.position, block.angle % (2 * np.pi), *agent.velocity])


def recording_at(start: np.ndarray) -> Recording:
    """Our world, an action of one control step at a time."""
    recording = Recording(0, image_size=64, frame_interval=0.1, frames=False)
    set_state(recording.world, start)
    return recording


def drive_ours(start: np.ndarray, actions: np.ndarray) -> np.ndarray:
    recording = recording_at(start)
    states = [state_of(recording.world)]
    for action in actions:
        recording.act(action)
        states.append(state_of(recording.world))
    return np.stack(states)


def drive_theirs(world: Any, start: np.ndarray, actions: np.ndarray) -> np.ndarray:
    observed, _ = world.reset(seed=0, options={"state": start, "goal_state": start.copy()})
    states = [observed["state"]]
    for action in actions:
        observed, *_ = world.step(action)
        states.append(observed["state"])
    return np.stack(states)


def make_case(policy: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A start, and what a policy does from there."""
    rng = np.random.default_rng(seed)
    block = rng.uniform(150, 350, 2)
    start = np.array([*(block + rng.choice([-110.0, 110.0], 2)), *block, rng.uniform(-np.pi, np.pi), 0.0, 0.0])
    recording, behaviour = recording_at(start), BEHAVIOURS[policy](rng)
    for _ in range(STEPS):
        recording.act(behaviour(recording))
    return start, recording.actions


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("stable_worldmodel", reason="needs the extra swm")
    import pymunk

    if not hasattr(pymunk.Space, "on_collision"):

        def on_collision(space: Any, first: int, second: int, *, post_solve: Any) -> None:
            """Pymunk 7 calls it so; it counts contacts alone."""
            space.add_collision_handler(first, second).post_solve = post_solve

        monkeypatch.setattr(pymunk.Space, "on_collision", on_collision, raising=False)
    from stable_worldmodel.envs.pusht.env import PushT

    return PushT(resolution=512)


@pytest.mark.parametrize("number", range(len(POLICIES)))
def test_states_are_those_that_their_world_went_through(number: int) -> None:
    with np.load(RECORDED) as recorded:
        states, actions = recorded["states"][number], recorded["actions"][number].astype(np.float64)
        start = recorded["starts"][number]
    assert len(states) == STEPS + 1
    ours = drive_ours(start, actions)
    assert np.linalg.norm(states[-1, 2:4] - states[0, 2:4]) > 20, "the block is pushed"
    np.testing.assert_allclose(ours, states, rtol=0, atol=1e-6)


def test_the_recorded_case_is_small_and_theirs(theirs: Any) -> None:
    assert RECORDED.stat().st_size <= 30_000
    with np.load(RECORDED) as recorded:
        for number, start in enumerate(recorded["starts"]):
            states = drive_theirs(theirs, start, recorded["actions"][number].astype(np.float64))
            np.testing.assert_allclose(states, recorded["states"][number], rtol=0, atol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", [4, 5, 6])
def test_the_same_actions_lead_through_the_same_states(theirs: Any, policy: str, seed: int) -> None:
    start, actions = make_case(policy, seed)
    np.testing.assert_allclose(drive_theirs(theirs, start, actions), drive_ours(start, actions), rtol=0, atol=1e-6)


def test_five_relative_targets_are_five_of_their_actions(theirs: Any) -> None:
    start, actions = make_case("near_block", 7)
    recording = Recording(0, image_size=64, frame_interval=0.5, frames=False)
    set_state(recording.world, start)
    ours = []
    for five in actions.reshape(-1, 10):
        recording.act(five)
        ours.append(state_of(recording.world))
    np.testing.assert_allclose(drive_theirs(theirs, start, actions)[5::5], ours, rtol=0, atol=1e-6)


def test_frames_show_the_same(theirs: Any) -> None:
    cv2 = load_opencv()
    for seed in range(3):
        start, actions = make_case("near_block", seed)
        drive_theirs(theirs, start, actions[:20])
        recording = recording_at(start)
        for action in actions[:20]:
            recording.act(action)
        drawn = theirs.render()
        frame = cv2.resize(drawn, (64, 64), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
        assert np.array_equal(frame, render_frame(recording.world, 64))
        # Their default of 224 pixels is sampled without filtering, which moves the edges of small drawings.
        theirs.render_size = 224
        small = cv2.resize(theirs.render(), (64, 64), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
        theirs.render_size = 512
        assert 0 < np.abs(small.astype(float) - frame).mean() < 1.5


def test_difference_by_precision_of_actions(theirs: Any) -> None:
    """Given float32, their targets and forces are computed in float32; ours are in double precision."""
    start, actions = make_case("smooth", 8)
    single = drive_theirs(theirs, start, actions.astype(np.float32))
    difference = np.abs(single - drive_ours(start, actions)).max()
    assert 1e-6 < difference < 0.01


def test_difference_by_the_goal_that_their_reset_visits(theirs: Any) -> None:
    """Their reset visits the state of the goal first; a block touched there is still pushed afterwards."""
    start, actions = make_case("near_block", 9)
    apart = start.copy()
    apart[:2] = np.where(start[2:4] > 256, 60.0, 450.0)
    touching = np.array([*start[2:4], *start[2:4], 0.3, 0.0, 0.0])
    states = {}
    for name, goal in (("apart", apart), ("touching", touching)):
        observed, _ = theirs.reset(seed=0, options={"state": start, "goal_state": goal})
        states[name] = observed["state"]
    ours = drive_ours(start, actions[:0])[0]
    assert np.array_equal(states["apart"], ours)
    assert np.abs(states["touching"] - ours).max() > 1e-3
