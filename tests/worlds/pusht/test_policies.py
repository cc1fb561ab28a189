import numpy as np
import pytest

from rlvr_world_hf.worlds.pusht.policies import (
    MARGIN,
    REACH,
    WORLD_SIZE,
    ExploringPolicy,
    PushingPolicy,
    within_reach,
)


def test_targets_are_within_reach_and_within_the_walls() -> None:
    policy = PushingPolicy(np.random.default_rng(0), reach=50.0, noise=0.0)
    rng = np.random.default_rng(1)
    for _ in range(100):
        agent, block = rng.uniform(MARGIN, WORLD_SIZE - MARGIN, (2, 2))
        target = policy(agent, block)
        assert np.linalg.norm(target - agent) <= 50.0 + 1e-6
        assert (target >= MARGIN).all() and (target <= WORLD_SIZE - MARGIN).all()


@pytest.mark.parametrize(
    ("waypoint", "expected"), [((300.0, 400.0), (30.0, 40.0)), ((6.0, -8.0), (6.0, -8.0)), ((0.0, 0.0), (0.0, 0.0))]
)
def test_a_waypoint_beyond_reach_is_approached_straight(
    waypoint: tuple[float, float], expected: tuple[float, float]
) -> None:
    agent = np.array([10.0, 20.0])
    assert within_reach(agent, agent + waypoint, 50.0) - agent == pytest.approx(np.array(expected))


def test_the_policy_pushes_through_the_block_at_times_and_walks_behind_it_at_others() -> None:
    policy = PushingPolicy(np.random.default_rng(0), reach=WORLD_SIZE, noise=0.0)
    agent, block = np.full(2, 100.0), np.full(2, 256.0)
    pushes, ways = [], []
    for _ in range(200):
        target = policy(agent, block)
        pushes.append(policy.pushes_left > 0)
        ways.append(float((target - block) @ policy.direction))
    behind = [way for way in ways if way < -49.0]
    assert 0 < len(behind) < 200 and min(ways) >= -80.0 - 1e-9, "50 to 80 units behind the block, as it is to go"
    assert all(-1e-9 <= way <= 40.0 + 1e-9 for way in ways if way >= -49.0), "or through it"
    assert any(pushes) and not all(pushes)


def explored(share: float, *, steps: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Moves `(steps, 2)` of an exploring policy from the middle of the table, and which of them are exploration."""
    agent, pushed = np.full(2, WORLD_SIZE / 2), np.array([7.0, 7.0])
    policy = ExploringPolicy(lambda agent, block: agent + pushed, np.random.default_rng(0), share=share)
    moves = np.stack([policy(agent, agent) for _ in range(steps)]) - agent
    return moves, ~(moves == pushed).all(axis=1)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_exploration_takes_its_share_of_the_steps(share: float) -> None:
    _, explores = explored(share)
    assert explores.mean() == pytest.approx(share, abs=0.05 if 0 < share < 1 else 0)


def test_exploration_stands_still_moves_on_a_whim_and_walks_somewhere() -> None:
    moves, _ = explored(1.0)
    still = (moves == 0).all(axis=1)
    again = (moves[1:] == moves[:-1]).all(axis=1) & ~still[1:]  # the same way twice: a walk towards one point
    full = np.isclose(np.linalg.norm(moves, axis=1), REACH)
    assert 0.25 < still.mean() < 0.42
    assert 0.15 < again.mean() < 0.42
    nearer = np.pi * REACH**2 / (WORLD_SIZE - 2 * MARGIN) ** 2  # share of the points that lie nearer than one step
    assert full[1:][again].mean() == pytest.approx(1 - nearer, abs=0.05)
    assert (np.abs(moves) <= REACH).all()
    assert 0.25 < 1 - (still | full).mean() < 0.42


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_beyond_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=rf"share of exploration to be within \[0, 1\], got {share}"):
        ExploringPolicy(lambda agent, block: block, np.random.default_rng(0), share=share)
