import numpy as np
import pytest

from rlvr_world_hf.worlds.pusht.law import (
    WAY_SCALE,
    aim_at,
    count_action_dims,
    count_control_steps,
    follow_actions,
    keep_within,
    way_matrix,
)


@pytest.mark.parametrize(
    ("law", "interval", "dims"), [("relative", 0.5, 10), ("relative", 0.1, 2), ("absolute", 0.5, 2)]
)
def test_an_action_has_numbers_for_each_control_step_or_one_target(law: str, interval: float, dims: int) -> None:
    assert count_action_dims(law, interval) == dims  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="multiple of 0.1 s, got 0.25"):
        count_control_steps(0.25)


def test_at_full_speed_the_agent_goes_190_units_in_a_frame() -> None:
    at, velocity = follow_actions(np.zeros(2), np.zeros(2), np.array([1.0, -1.0] * 5))
    assert at == pytest.approx([192.4, -192.4], abs=0.1) and velocity[0] == -velocity[1] > 300


def test_many_agents_are_followed_as_each_alone() -> None:
    rng = np.random.default_rng(0)
    agents, velocities, actions = rng.uniform(0, 512, (3, 2)), rng.normal(size=(3, 2)), rng.uniform(-1, 1, (3, 10))
    together = follow_actions(agents, velocities, actions)
    alone = [follow_actions(*each) for each in zip(agents, velocities, actions, strict=True)]
    for index in (0, 1):
        assert np.array_equal(together[index], np.stack([one[index] for one in alone]))
    aimed = aim_at(agents, velocities, agents + 30, control_steps=5)
    assert np.array_equal(aimed[1], aim_at(agents[1], velocities[1], agents[1] + 30, control_steps=5))


def test_a_far_target_is_approached_straight() -> None:
    action = aim_at(np.array([50.0, 50.0]), np.zeros(2), np.array([450.0, 250.0]), control_steps=5)
    assert action.dtype == np.float32 and action.reshape(5, 2) == pytest.approx(np.array([[1.0, 0.5]] * 5))
    at, _ = follow_actions(np.array([50.0, 50.0]), np.zeros(2), action)
    assert (at[0] - 50) == pytest.approx(2 * (at[1] - 50))


def test_targets_kept_within_a_box_change_only_where_they_leave_it() -> None:
    rng = np.random.default_rng(1)
    low, high = np.full(2, 32.0), np.full(2, 480.0)
    inside = np.array([256.0, 256.0])
    calm = rng.uniform(-0.1, 0.1, 10)
    assert keep_within(inside, np.zeros(2), calm, low=low, high=high) == pytest.approx(calm, abs=1e-6)
    agent, velocity = np.array([450.0, 60.0]), np.zeros(2)
    for _ in range(20):
        action = keep_within(agent, velocity, rng.uniform(-1, 1, 10) + [1, -1] * 5, low=low, high=high)
        assert action.dtype == np.float32 and np.abs(action).max() <= 1
        for step in action.reshape(5, 2):
            assert (agent + 100 * step >= low - 1e-4).all() and (agent + 100 * step <= high + 1e-4).all()
            agent, velocity = follow_actions(agent, velocity, step)


def test_a_model_is_told_the_way_that_an_action_leads_from_rest() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 10))
    told = actions @ np.array(way_matrix(5)).T * WAY_SCALE * 5
    for step in range(1, 6):
        agent, _ = follow_actions(np.zeros((5, 2)), np.zeros((5, 2)), actions[:, : 2 * step])
        assert np.allclose(told[:, 2 * step - 2 : 2 * step], agent)


@pytest.mark.parametrize("control_steps", [1, 5, 20])
def test_no_way_is_beyond_what_a_model_can_be_told(control_steps: int) -> None:
    assert np.abs(way_matrix(control_steps)).sum(axis=1).max() <= 1
