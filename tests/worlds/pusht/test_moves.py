from collections.abc import Callable

import numpy as np
import pytest
import torch

from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.planning.cross_entropy import CrossEntropyPlanner
from rlvr_world_hf.planning.goal_cost import GoalCost
from rlvr_world_hf.rewards import AgentPositionReward, MAEReward
from rlvr_world_hf.worlds.pusht.ladder import read_states
from rlvr_world_hf.worlds.pusht.law import ActionLaw
from rlvr_world_hf.worlds.pusht.moves import (
    copied_moves,
    goal_agent_moves,
    imagined_moves,
    random_moves,
    scripted_moves,
    simulated_moves,
    state_moves,
)
from rlvr_world_hf.worlds.pusht.policies import MARGIN, WORLD_SIZE
from rlvr_world_hf.worlds.pusht.pose_cost import PoseCost
from rlvr_world_hf.worlds.pusht.state_model import StateModel
from rlvr_world_hf.worlds.pusht.task import MOVE, Attempt, Decide, PushTTask, attempt
from tests.tiny import tiny_model, tiny_processor


STARTS = (21, 22, 23)


def attempts(decide: Callable[[PushTTask], Decide], law: ActionLaw = "relative") -> list[Attempt]:
    tasks = [PushTTask(seed, image_size=64, lead=3, goal_steps=2, action_law=law) for seed in STARTS]
    return [attempt(task, decide(task), decisions=3) for task in tasks]


@pytest.mark.parametrize(("law", "settings"), [("relative", {}), ("relative", {"freely": True}), ("absolute", {})])
def test_planning_in_the_true_simulator_beats_chance(law: ActionLaw, settings: dict[str, bool]) -> None:
    planner = CrossEntropyPlanner(horizon=2, candidates=12, elites=3)

    def planned(task: PushTTask) -> Decide:
        cost = GoalCost(task.goal_frame, {MAEReward(): 1.0, AgentPositionReward(): 0.1})
        return simulated_moves(cost, planner, seed=0, **settings)

    guided = attempts(planned, law)
    blind = attempts(lambda task: random_moves(task.seed), law)
    assert np.mean([one.position_distance for one in guided]) < np.mean([one.position_distance for one in blind])
    assert sum(one.is_success for one in guided) >= sum(one.is_success for one in blind)


@pytest.mark.parametrize("law", ["relative", "absolute"])
@pytest.mark.parametrize("make", [random_moves, scripted_moves])
def test_blind_policies_repeat_themselves_by_the_seed(make: Callable[[int], Decide], law: ActionLaw) -> None:
    first, again, other = (attempts(lambda task, seed=seed: make(seed), law)[0].actions for seed in (1, 1, 2))
    assert first == again != other
    low, high = (MARGIN, WORLD_SIZE - MARGIN) if law == "absolute" else (-1, 1)
    assert np.min(first) >= low and np.max(first) <= high and len(first[0]) == (2 if law == "absolute" else 10)


def test_what_is_planned_freely_are_relative_actions() -> None:
    task = PushTTask(21, image_size=64, lead=3, goal_steps=2, action_law="absolute")
    planner = CrossEntropyPlanner(horizon=1, candidates=4, elites=2)
    decide = simulated_moves(lambda frames: frames.mean(dim=(1, 2, 3, 4)), planner, seed=0, freely=True)
    with pytest.raises(ValueError, match="Expected relative actions to plan freely"):
        decide(task.start())


@pytest.mark.parametrize(("law", "is_told_agent"), [("relative", False), ("relative", True), ("absolute", False)])
def test_a_world_model_decides_within_reach_and_by_the_seed(law: ActionLaw, is_told_agent: bool) -> None:
    processor = tiny_processor(image_size=16, observed_steps=2, action_law=law, is_told_agent=is_told_agent)
    pipeline = WorldModelPipeline(tiny_model(processor), processor)
    task = PushTTask(5, image_size=16, lead=3, goal_steps=1, action_law=law)
    planner = CrossEntropyPlanner(horizon=2, candidates=4, elites=2)

    def cost(frames: torch.Tensor) -> torch.Tensor:
        return frames.mean(dim=(1, 2, 3, 4))

    def decided(seed: int) -> list[np.ndarray]:
        decide, world, actions = imagined_moves(pipeline, cost, planner, seed=seed, temperature=1.0), task.start(), []
        for _ in range(2):
            actions.append(decide(world))
            if law == "absolute":
                assert (np.abs(actions[-1] - world.agent) <= MOVE + 1e-3).all()
            else:
                assert actions[-1].shape == (10,) and np.abs(actions[-1]).max() <= 1
            world.act(actions[-1])
        return actions

    first, again, other = decided(1), decided(1), decided(2)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def to_goal(task: PushTTask) -> PoseCost:
    return PoseCost(read_states(torch.from_numpy(task.goal_state).float()))


def test_planning_by_true_states_finds_what_frames_show() -> None:
    task = PushTTask(21, image_size=32, lead=3, goal_steps=2)
    planner = CrossEntropyPlanner(horizon=2, candidates=16, elites=4)
    cost = to_goal(task)
    decide = simulated_moves(
        lambda states: cost.of_places(read_states(states)), planner, seed=0, shows="states", receding=2
    )
    blind = attempt(task, random_moves(0), decisions=2)
    assert attempt(task, decide, decisions=2).position_distance < blind.position_distance


def test_an_open_loop_plan_is_carried_out_as_it_is() -> None:
    task, planner = PushTTask(21, image_size=32, lead=3), CrossEntropyPlanner(horizon=3, candidates=4, elites=2)
    searched: list[int] = []

    def cost(frames: torch.Tensor) -> torch.Tensor:
        searched.append(frames.shape[1])
        return frames.mean(dim=(1, 2, 3, 4))

    decide, world = simulated_moves(cost, planner, seed=0, receding=3), task.start()
    planned = []
    for step in range(6):
        planned.append(decide(world))
        assert len(searched) == (2 if step < 3 else 4), "two iterations a search, one search for three decisions"
        world.act(planned[-1])
    assert not np.array_equal(planned[0], planned[3])


def test_the_goal_agent_is_walked_to() -> None:
    task = PushTTask(21, image_size=64, lead=3)
    done = attempt(task, goal_agent_moves(task.goal_frame), decisions=10)
    world = task.start()
    for action in done.actions:
        world.act(np.array(action))
    assert done.is_success or np.linalg.norm(world.agent - task.goal_state[:2]) < 5
    nowhere = goal_agent_moves(np.full((3, 64, 64), 255, np.uint8))
    assert np.abs(nowhere(task.start())).max() < 0.1


def test_where_nothing_is_foreseen_all_candidates_cost_the_same() -> None:
    task, planner = PushTTask(21, image_size=32, lead=3), CrossEntropyPlanner(horizon=2, candidates=4, elites=2)
    costs: list[torch.Tensor] = []

    def cost(frames: torch.Tensor) -> torch.Tensor:
        assert frames.shape == (1, 2, 3, 32, 32) and torch.equal(frames[0, 0], frames[0, 1])
        costs.append(frames.mean(dim=(1, 2, 3, 4)))
        return costs[-1]

    assert copied_moves(cost, planner, seed=0)(task.start()).shape == (10,) and len(costs) == 2


def test_a_network_over_states_plans_from_the_true_ones() -> None:
    task = PushTTask(21, image_size=32, lead=3)
    given: list[torch.Tensor] = []

    class Walking(StateModel):
        """Where the agent would be if it went as far as its first target, and the block stayed."""

        def predict(self, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
            given.append(states)
            moved = states[:, -1:].repeat(1, actions.shape[1], 1)
            moved[..., :2] += actions[..., :2].cumsum(dim=1)
            return moved

    model = Walking(action_dims=10, action_law="relative", width=8)
    planner = CrossEntropyPlanner(horizon=2, candidates=16, elites=4)
    world = task.start()
    action = state_moves(model, to_goal(task).of_places, planner, seed=0)(world)
    true = read_states(torch.from_numpy(world.seen_states(2)))
    assert torch.equal(given[0], true.expand(16, 2, 5))
    towards = (task.goal_state[:2] - world.agent) @ action[:2]
    assert towards > 0
