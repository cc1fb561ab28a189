from collections.abc import Callable

import numpy as np
import pytest
import torch

from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.planning.cross_entropy import CrossEntropyPlanner
from rlvr_world_hf.planning.goal_cost import GoalCost
from rlvr_world_hf.rewards import AgentPositionReward, MAEReward
from rlvr_world_hf.worlds.pusht.law import ActionLaw
from rlvr_world_hf.worlds.pusht.moves import imagined_moves, random_moves, scripted_moves, simulated_moves
from rlvr_world_hf.worlds.pusht.policies import MARGIN, WORLD_SIZE
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
