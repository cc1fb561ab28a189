import numpy as np
import pytest

from rlvr_world_hf.worlds.pusht.goal_policies import BEHIND, CIRCLE, GOAL, POLICIES, REST, GoalPushingPolicy
from rlvr_world_hf.worlds.pusht.policies import MARGIN, REACH, WORLD_SIZE


def distance(first, second) -> float:
    return float(np.linalg.norm(np.asarray(first) - second))


def test_there_are_twelve_from_still_to_careful() -> None:
    assert len(POLICIES) == 12 and [*POLICIES][0] == "still" and [*POLICIES][-1] == "careful"


@pytest.mark.parametrize("name", POLICIES)
def test_targets_are_on_the_table_and_reproducible(name: str) -> None:
    places = np.random.default_rng(0).uniform(MARGIN, WORLD_SIZE - MARGIN, (50, 2, 2))
    runs = []
    for _ in range(2):
        policy = POLICIES[name](np.random.default_rng(3))
        runs.append([policy(agent, block) for agent, block in places])
    np.testing.assert_array_equal(*runs)
    assert np.min(runs) >= MARGIN and np.max(runs) <= WORLD_SIZE - MARGIN


def test_still_stays_and_random_does_not_see() -> None:
    agent, block = np.array([100.0, 120.0]), np.array([300.0, 200.0])
    assert POLICIES["still"](np.random.default_rng(0))(agent, block).tolist() == [100.0, 120.0]
    here, there = (POLICIES["random"](np.random.default_rng(0))(agent, place) for place in (block, block + 50))
    assert np.array_equal(here, there) and distance(here, agent) <= REACH + 1e-6


def test_it_walks_around_the_block_until_it_is_behind() -> None:
    policy = GoalPushingPolicy(np.random.default_rng(0))
    block = GOAL + [80.0, 0.0]
    agent = block + [-100.0, 10.0]  # between block and goal
    for _ in range(8):
        offset = agent - block
        if abs(np.arctan2(offset[1], offset[0])) <= BEHIND:
            break
        agent = policy(agent, block)
        assert distance(agent, block) > 0.8 * CIRCLE, "it does not run into the block"
    else:
        pytest.fail("it never came behind the block")
    target = policy(agent, block)
    assert abs((target - block)[1]) < 2, "it pushes along the line to the goal"
    assert target[0] < agent[0] - 20


def test_it_pushes_as_far_as_the_block_has_to_go() -> None:
    policy = GoalPushingPolicy(np.random.default_rng(0))
    block = GOAL + [0.0, 20.0]
    agent = block + [0.0, 60.0]  # touching it from behind
    assert policy(agent, block) == pytest.approx(agent - [0.0, 20.0])


def test_it_leaves_the_block_alone_at_the_goal() -> None:
    policy = GoalPushingPolicy(np.random.default_rng(0))
    agent = GOAL + [60.0, 0.0]
    assert policy(agent, GOAL + [REST - 1, 0.0]).tolist() == agent.tolist()


def test_noise_and_reach_make_it_worse() -> None:
    block = GOAL + [0.0, 100.0]
    agent = block + [0.0, 90.0]
    best = GoalPushingPolicy(np.random.default_rng(0))(agent, block)
    slow = POLICIES["slow"](np.random.default_rng(0))(agent, block)
    assert distance(slow, agent) == pytest.approx(REACH / 3) and distance(best, agent) == pytest.approx(REACH)
    spread = {
        name: np.std([POLICIES[name](np.random.default_rng(seed))(agent, block) - best for seed in range(200)])
        for name in ("steady", "shaky", "unsteady", "clumsy", "wild")
    }
    assert spread["steady"] > 10 and [*spread.values()] == sorted(spread.values())
