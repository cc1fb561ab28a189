"""
Solvers of stable-worldmodel in its PushT, on small models: they ask what our own planners ask, and decide alike. Its
world and ours are held against each other in `tests/worlds/pusht/test_stable_worldmodel.py`.
"""

import importlib
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import TransformAction

from rlvr_world_hf.data.array_files import resize_frames
from rlvr_world_hf.hub import save_world_model
from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.planning import GoalCost, ImaginedCost
from rlvr_world_hf.planning.planner import ActionBox, Objective, Plan
from rlvr_world_hf.rewards import MAEReward, SensorMAEReward
from rlvr_world_hf.worlds.pusht.law import way_matrix
from rlvr_world_hf.worlds.pusht.moves import imagined_moves
from rlvr_world_hf.worlds.pusht.physics import set_state
from rlvr_world_hf.worlds.pusht.simulator import Recording
from tests.tiny import tiny_model, tiny_processor, tiny_sensor_processor


pytestmark = [
    # Of stable-worldmodel 0.1.1: it misses games it does not need here, asks gymnasium whether plain numbers fit, and
    # shows the same goal in each `info`.
    pytest.mark.filterwarnings("ignore:ale-py not found"),
    pytest.mark.filterwarnings("ignore:.*Casting input x to numpy array"),
    pytest.mark.filterwarnings("ignore:.*The infos returned by"),
]

KINDS = [False, True]
BLOCK = 5
START = np.array([120.0, 150.0, 300.0, 320.0, 0.4, 0.0, 0.0])
GOAL = np.array([380.0, 400.0, 200.0, 180.0, 1.2, 0.0, 0.0])


@pytest.fixture(scope="module")
def swm() -> Any:
    return pytest.importorskip("stable_worldmodel", reason="needs the extra swm")


@pytest.fixture
def ours(swm: Any) -> Any:
    return importlib.import_module("rlvr_world_hf.integrations.stable_worldmodel")


def make_pipeline(*, is_told_agent: bool = False, observed_steps: int = 1, seed: int = 0) -> WorldModelPipeline:
    processor = tiny_processor(observed_steps=observed_steps, action_law="relative", is_told_agent=is_told_agent)
    return WorldModelPipeline(tiny_model(processor, seed=seed), processor)


def shown_to(candidates: int, **of_worlds: np.ndarray) -> dict[str, torch.Tensor]:
    """What worlds show `(E, T, ...)` as a solver hands it over, `(E, N, T, ...)`."""
    tensors = {name: torch.from_numpy(values) for name, values in of_worlds.items()}
    return {name: one[:, None].expand(len(one), candidates, *one.shape[1:]) for name, one in tensors.items()}


def draw_worlds(*, worlds: int = 2, frames: int = 2, size: int = 64) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "pixels": rng.integers(0, 256, (worlds, frames, size, size, 3), dtype=np.uint8),
        "goal": rng.integers(0, 256, (worlds, 1, size, size, 3), dtype=np.uint8),
        "proprio": rng.uniform(0, 512, (worlds, frames, 4)),
        "goal_proprio": rng.uniform(0, 512, (worlds, 1, 4)),
        "past_actions": rng.uniform(-1, 1, (worlds, frames - 1, 2 * BLOCK)),
        "id": np.arange(worlds)[:, None],
    }


def draw_candidates(*, worlds: int = 2, steps: int = 2, spread: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return spread * torch.rand(worlds, 4, steps, 2 * BLOCK, generator=generator) - spread / 2


def averaged(frames: np.ndarray) -> np.ndarray:
    """Frames of a world `(T, h, w, 3)` as the tiny models see them."""
    return resize_frames(frames.transpose(0, 3, 1, 2), 16)


@pytest.mark.parametrize("is_told_agent", KINDS)
@pytest.mark.parametrize(
    ("observed_steps", "settings"), [(0, {"temperature": 1.0, "seed": 3}), (1, {"window": 1}), (3, {})]
)
def test_costs_are_those_of_our_objective(
    ours: Any, is_told_agent: bool, observed_steps: int, settings: dict[str, Any]
) -> None:
    pipeline = make_pipeline(is_told_agent=is_told_agent, observed_steps=observed_steps)
    rewards = {MAEReward(): 1.0, MAEReward(pixels="moving", aggregation="last"): 0.5}
    if is_told_agent:
        rewards[SensorMAEReward()] = 0.01
    given = 1 + observed_steps
    drawn, candidates = draw_worlds(frames=given + 1), draw_candidates()  # one more than the model is given
    costs = ours.WorldModelCost(pipeline, rewards, **settings).get_cost(shown_to(4, **drawn), candidates)
    assert costs.shape == (2, 4) and costs.dtype == torch.float32 and len(set(costs.flatten().tolist())) > 4
    for world, found in enumerate(costs):
        frames = averaged(drawn["pixels"][world, -given:])
        goal: Any = {"predicted": averaged(drawn["goal"][world])[0]}
        states, seen = drawn["proprio"][world, -given:, :2].astype(np.float32), {"predicted": frames}
        if is_told_agent:
            goal["predicted_states"] = drawn["goal_proprio"][world, 0, :2].astype(np.float32)
            seen["predicted_states"] = states
        objective = ImaginedCost(
            pipeline,
            frames,
            GoalCost(goal, rewards, context=seen),
            states=states if is_told_agent else None,
            past_actions=drawn["past_actions"][world],
            **settings,
        )
        assert torch.equal(found, objective(candidates[world]))


class Keeping(MAEReward):
    """Keeps what it was given, as rewards may that load a network when they are first asked."""

    def measure(self, predicted: torch.Tensor, reference: torch.Tensor, **given: Any) -> torch.Tensor:
        self.kept = predicted
        return super().measure(predicted, reference, **given)


def test_what_is_kept_of_a_question_in_inference_mode_is_of_use_later(ours: Any) -> None:
    reward = Keeping()
    cost = ours.WorldModelCost(make_pipeline(), {reward: 1.0})
    info, candidates = shown_to(4, **draw_worlds()), draw_candidates()
    with torch.inference_mode():
        costs = cost.get_cost(info, candidates.clone())
    reward.kept.add_(1)
    assert torch.equal(cost.criterion(info, candidates), costs)


def test_what_the_policy_normalized_is_undone(ours: Any) -> None:
    pipeline, drawn, candidates = make_pipeline(), draw_worlds(size=16), draw_candidates(spread=1.0)
    costs = ours.WorldModelCost(pipeline, {MAEReward(): 1.0}).get_cost(shown_to(4, **drawn), candidates)
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    for name in ("pixels", "goal"):
        frames = (drawn[name] / 255 - np.array(mean)) / np.array(deviation)
        drawn[name] = frames.transpose(0, 1, 4, 2, 3).astype(np.float32)
    cost = ours.WorldModelCost(
        pipeline, {MAEReward(): 1.0}, normalization=(mean, deviation), to_actions=lambda normalized: normalized / 4
    )
    torch.testing.assert_close(cost.get_cost(shown_to(4, **drawn), candidates * 4), costs)
    with pytest.raises(ValueError, match=r"Expected frames in \[0, 1\], got -.*`normalization`"):
        ours.WorldModelCost(pipeline, {MAEReward(): 1.0}).get_cost(shown_to(4, **drawn), candidates)


def test_beyond_the_range_counts_the_end_of_it(ours: Any) -> None:
    pipeline = make_pipeline()
    pipeline.processor.action_matrix = way_matrix(BLOCK)  # of what is beyond, it would make something else
    cost, info = ours.WorldModelCost(pipeline, {MAEReward(): 1.0}), shown_to(4, **draw_worlds())
    wide = draw_candidates(spread=6.0)
    assert torch.equal(cost.get_cost(info, wide), cost.get_cost(info, wide.clamp(-1, 1)))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"pixels": None}, "worlds that show `pixels`, got goal, goal_proprio, id, past_actions, proprio"),
        ({"goal": None}, "worlds that show `goal`"),
        ({"proprio": None}, "worlds that show `proprio`"),
        ({"past_actions": None}, "worlds that show `past_actions`"),
        ({"pixels": np.zeros((2, 2, 64, 64, 3), np.uint8)}, r"the last 3 of `pixels`.*got 2; wrap the policy"),
        ({"pixels": np.zeros((2, 3, 64, 64), np.uint8)}, r"frames \(T, h, w, 3\).*got \(3, 64, 64\)"),
        ({"pixels": np.zeros((2, 3, 8, 64, 3), np.uint8)}, "at least 16x16, the model's size, got 8x64"),
    ],
)
def test_what_does_not_fit_is_refused(ours: Any, changed: dict[str, Any], error: str) -> None:
    cost = ours.WorldModelCost(make_pipeline(is_told_agent=True, observed_steps=2), {MAEReward(): 1.0})
    drawn = {name: value for name, value in {**draw_worlds(frames=3), **changed}.items() if value is not None}
    with pytest.raises(ValueError, match=error):
        cost.get_cost(shown_to(4, **drawn), draw_candidates())


@pytest.mark.parametrize(
    ("candidates", "error"),
    [
        (torch.zeros(2, 4, 3, 2), "of 10 numbers a step, as the model's actions have, got 2; let `action_block`"),
        (torch.zeros(4, 3, 10), r"Expected candidates \(E, N, H, D\) without gradients, got \(4, 3, 10\)"),
        (torch.zeros(2, 4, 3, 10, requires_grad=True), "got some with gradients; take a solver that compares"),
    ],
)
def test_candidates_that_do_not_fit_are_refused(ours: Any, candidates: torch.Tensor, error: str) -> None:
    cost = ours.WorldModelCost(make_pipeline(), {MAEReward(): 1.0})
    with pytest.raises(ValueError, match=error):
        cost.get_cost(shown_to(4, **draw_worlds()), candidates)


def test_models_of_another_kind_are_refused(ours: Any) -> None:
    for processor, error in (
        (tiny_processor(action_law="absolute"), "got one of the absolute law"),
        (tiny_sensor_processor(), "got one that predicts sensors"),
    ):
        with pytest.raises(ValueError, match=error):
            ours.WorldModelCost(WorldModelPipeline(tiny_model(processor), processor), {MAEReward(): 1.0})
    with pytest.raises(ValueError, match="whose solver's model is a `WorldModelCost`, got a list"):
        ours.HistoryPolicy(SimpleNamespace(solver=SimpleNamespace(model=[])))


class Watched:
    """A policy that keeps what it was shown and what it did."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        self.actions: list[np.ndarray] = []
        self.seen: list[np.ndarray] = []
        self.set_env = policy.set_env

    def get_action(self, info: Any) -> np.ndarray:
        self.seen.append(info["pixels"][:, -1].copy())
        self.actions.append(self.policy.get_action(info))
        return self.actions[-1]


class Counted:
    """A solver that keeps what it was asked."""

    def __init__(self, solver: Any) -> None:
        self.solver = solver
        self.asked: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.solver, name)

    def __call__(self, info: dict[str, Any], **options: Any) -> Any:
        self.asked.append(info)
        return self.solver(info, **options)


def make_policy(swm: Any, ours: Any, pipeline: WorldModelPipeline, solver: str = "CEMSolver", **settings: Any) -> Any:
    cost = ours.WorldModelCost(pipeline, {MAEReward(): 1.0})
    sizes = {"n_steps": 2, **({} if solver == "PredictiveSamplingSolver" else {"topk": 3}), **settings}
    if solver == "PredictiveSamplingSolver":
        sizes.pop("n_steps")
    counted = Counted(getattr(swm.solver, solver)(cost, num_samples=8, seed=5, **sizes))
    plan = swm.PlanConfig(horizon=2, receding_horizon=1, action_block=BLOCK, warm_start=False)
    return ours.HistoryPolicy(swm.policy.WorldModelPolicy(counted, plan))


def make_world(swm: Any, policy: Any, *, worlds: int = 1, decisions: int = 2, **options: Any) -> Any:
    world = swm.World(
        "swm/PushT-v1", worlds, image_shape=(512, 512), resolution=512, max_episode_steps=decisions * BLOCK, **options
    )
    world.set_policy(policy)
    return world


@pytest.mark.parametrize("is_told_agent", KINDS)
def test_their_solver_plans_in_their_world(swm: Any, ours: Any, is_told_agent: bool) -> None:
    policy = make_policy(swm, ours, make_pipeline(is_told_agent=is_told_agent))
    watched = Watched(policy)
    options = {"variation": ["agent.color", "block.start_position", "agent.start_position"]}
    result = make_world(swm, watched, worlds=2).evaluate(episodes=2, seed=0, options=options)
    assert result["episode_successes"].shape == (2,)
    asked, seen = policy.policy.solver.asked, np.stack(watched.seen, axis=1)  # (E, 10, 512, 512, 3)
    assert len(asked) == 2 and seen.shape[:2] == (2, 2 * BLOCK)
    assert np.array_equal(asked[0]["pixels"], seen[:, [0, 0]]), "before the first moment the world was at rest"
    assert np.array_equal(asked[1]["pixels"], seen[:, [0, BLOCK]]), "a block apart"
    actions = np.stack(watched.actions, axis=1)  # (E, 10, 2)
    assert np.abs(actions).max() <= 1 and not np.array_equal(actions[0], actions[1])
    assert np.array_equal(asked[0]["past_actions"], np.zeros((2, 1, 2 * BLOCK)))
    assert np.array_equal(asked[1]["past_actions"][:, 0], actions[:, :BLOCK].reshape(2, -1))
    if is_told_agent:
        assert asked[1]["proprio"].shape == (2, 2, 4)
        assert np.array_equal(asked[1]["proprio"][:, 0], asked[0]["proprio"][:, 1])


@pytest.mark.parametrize("solver", ["ICEMSolver", "MPPISolver", "PredictiveSamplingSolver"])
def test_other_solvers_that_compare_costs_plan_too(swm: Any, ours: Any, solver: str) -> None:
    watched = Watched(make_policy(swm, ours, make_pipeline(), solver))
    make_world(swm, watched, decisions=1).evaluate(episodes=1, seed=0)
    assert np.abs(watched.actions).max() <= 1 and np.std(watched.actions) > 0


def test_a_solver_that_needs_gradients_is_told_so(swm: Any, ours: Any) -> None:
    cost = ours.WorldModelCost(make_pipeline(), {MAEReward(): 1.0})
    solver = swm.solver.GradientSolver(cost, n_steps=1, num_samples=2)
    plan = swm.PlanConfig(horizon=2, receding_horizon=1, action_block=BLOCK)
    world = make_world(swm, ours.HistoryPolicy(swm.policy.WorldModelPolicy(solver, plan)))
    with pytest.raises(ValueError, match="got some with gradients; take a solver that compares costs"):
        world.evaluate(episodes=1, seed=0)


def test_later_episodes_are_planned_like_the_first(swm: Any, ours: Any) -> None:
    policy = make_policy(swm, ours, make_pipeline())
    make_world(swm, policy).evaluate(episodes=3, seed=0)
    asked = policy.policy.solver.asked
    assert [int(info["step_idx"]) for info in asked] == [0, BLOCK] * 3
    for first in asked[::2]:
        assert np.array_equal(first["pixels"][:, 0], first["pixels"][:, 1]), "an episode before shows"


class Recorded:
    """A data set of one episode in which nothing happens but that its last moment is at the goal."""

    column_names = ("pixels", "proprio", "state", "action", "id", "step_idx")

    def load_chunk(self, episodes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> list[dict[str, Any]]:
        (first,), (end,), moments = starts, ends, []
        recording = Recording(0, image_size=512, frame_interval=0.5)
        for step in range(first, end):
            state = GOAL if step == end - 1 else START
            set_state(recording.world, state)
            values = {"proprio": state[[0, 1, 5, 6]], "state": state, "action": np.zeros(2), "id": [99.0]}
            moments.append({"pixels": recording.frame(), **values, "step_idx": [step]})
        stacked = {name: np.stack([moment[name] for moment in moments]) for name in self.column_names}
        flat = {name: values[:, 0] if name in ("id", "step_idx") else values for name, values in stacked.items()}
        return [{name: torch.from_numpy(values) for name, values in flat.items()}]


def test_starts_and_goals_of_a_data_set(swm: Any, ours: Any) -> None:
    policy = make_policy(swm, ours, make_pipeline(is_told_agent=True))
    calls = [
        {"method": "_set_state", "args": {"state": {"value": "state"}}},
        {"method": "_set_goal_state", "args": {"goal_state": {"value": "goal_state"}}},
    ]
    result = make_world(swm, policy, decisions=9).evaluate(
        dataset=Recorded(), episodes_idx=[0], start_steps=[3], goal_offset=25, eval_budget=2 * BLOCK, callables=calls
    )
    assert result["success_rate"] == 0
    recording = Recording(0, image_size=512, frame_interval=0.5)
    set_state(recording.world, START)
    start = recording.frame().transpose(1, 2, 0)
    set_state(recording.world, GOAL)
    asked = policy.policy.solver.asked
    assert len(asked) == 2
    for info in asked:
        assert np.array_equal(info["pixels"][0, 0], start) and np.allclose(info["proprio"][0, 0, :2], START[:2])
        assert np.array_equal(info["goal"][0, 0], recording.frame().transpose(1, 2, 0))
        assert np.allclose(info["goal_proprio"][0, 0, :2], GOAL[:2])
    assert np.array_equal(asked[0]["pixels"][0, 1], start) and not np.array_equal(asked[1]["pixels"][0, 1], start)


class TheirSolver:
    """A planner of ours that decides as their cross-entropy method, draw for draw."""

    horizon = 2

    def __init__(self, swm: Any) -> None:
        plan = swm.PlanConfig(horizon=2, receding_horizon=1, action_block=BLOCK, warm_start=False)
        self.solver = swm.solver.CEMSolver(self, num_samples=8, n_steps=2, topk=3, seed=5)
        self.solver.configure(action_space=Box(-1, 1, (1, 2)), n_envs=1, config=plan)

    def get_cost(self, info: Any, candidates: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(False):
            return self.objective(self.box.project(candidates[0].clone()))[None].float()

    def plan(self, objective: Objective, space: ActionBox, *, seed: int, guess: Any = None) -> Plan:
        self.objective, self.box = objective, space
        actions = self.solver({"step_idx": torch.zeros(1, 1)})["actions"][0]
        return Plan(actions=space.project(actions), cost=0.0, evaluations=16, history=(0.0,))


@pytest.mark.parametrize("is_told_agent", KINDS)
def test_our_loop_and_theirs_decide_alike(swm: Any, ours: Any, is_told_agent: bool) -> None:
    pipeline = make_pipeline(is_told_agent=is_told_agent)
    recording = Recording(0, image_size=16, frame_interval=0.5)
    set_state(recording.world, GOAL)
    decide = imagined_moves(
        pipeline, GoalCost(recording.frame(), {MAEReward(): 1.0}), TheirSolver(swm), seed=0, freely=True
    )
    set_state(recording.world, START)
    for _ in range(2):
        recording.act(np.zeros(2 * BLOCK))  # at rest
    decided = []
    for _ in range(2):
        decided.append(decide(recording))
        recording.act(decided[-1])

    watched = Watched(make_policy(swm, ours, pipeline))
    # In single precision, as their policy gives actions, their world computes its targets in it, too.
    double = [lambda env: TransformAction(env, lambda action: action.astype(np.float64), env.action_space)]
    world = make_world(swm, watched, pre_wrappers=double)
    world.evaluate(episodes=1, seed=0, options={"state": START, "goal_state": GOAL})
    theirs = np.reshape(watched.actions, (2, 2 * BLOCK))
    assert np.array_equal(theirs, np.stack(decided))
    assert np.std(theirs[1] - theirs[0]) > 0.1


@pytest.fixture
def handed(ours: Any) -> Any:
    """A policy with history over one that keeps what it is handed, and what a world shows at a step."""

    class Kept:
        solver = SimpleNamespace(model=ours.WorldModelCost(make_pipeline(), {MAEReward(): 1.0}))
        cfg = SimpleNamespace(action_block=BLOCK)

        def set_env(self, env: Any) -> None:
            self.env = env

        def get_action(self, info: dict[str, Any]) -> np.ndarray:
            self.info = info
            return np.full((1, 2), 3.0)

    policy = ours.HistoryPolicy(Kept())
    policy.set_env(SimpleNamespace(single_action_space=Box(-1, 1, (2,)), num_envs=1))

    def show(episode: int, step: int, colour: int) -> list[int]:
        """The colours that the solver would be handed."""
        info = {
            "pixels": np.full((1, 1, 4, 4, 3), colour, np.uint8),
            "action": np.full((1, 1, 2), np.nan if step == 0 else colour / 100, np.float32),
            "id": np.array([[episode]]),
            "step_idx": np.array([[step]]),
        }
        assert (policy.get_action(info) == 1).all(), "beyond the range"
        return policy.policy.info["pixels"][0, :, 0, 0, 0].tolist()

    return policy, show


def test_history_is_that_of_an_episode(handed: Any) -> None:
    policy, show = handed
    shown = [show(7, step, step) for step in range(8)]
    assert shown == [[0, 0], [0, 1], [0, 2], [0, 3], [0, 4], [0, 5], [1, 6], [2, 7]]
    last = policy.policy.info["past_actions"]
    np.testing.assert_allclose(last, np.repeat(np.arange(3, 8) / 100, 2)[None, None], rtol=1e-6)
    assert show(8, 0, 50) == [50, 50]
    assert np.array_equal(policy.policy.info["past_actions"], np.zeros((1, 1, 2 * BLOCK)))
    assert show(8, 1, 51) == [50, 51]
    np.testing.assert_allclose(policy.policy.info["past_actions"][0, 0], [0] * 8 + [0.51] * 2, rtol=1e-6)


def test_a_data_set_counts_its_first_moment_by_itself(handed: Any) -> None:
    _, show = handed
    assert [show(99, 12, 12), show(4, 1, 13), show(4, 2, 14)] == [[12, 12], [12, 13], [12, 14]]
    assert [show(98, 3, 60), show(5, 1, 61)] == [[60, 60], [60, 61]], "an episode before shows"


@pytest.mark.parametrize(
    ("space", "block", "error"),
    [
        (Box(-1, 1, (2,)), 1, "10 numbers from -1 to 1, got 2 numbers from -1 to 1 in blocks of 1; choose another"),
        (Box(0, 512, (2,)), BLOCK, "got 10 numbers from 0 to 512 in blocks of 5"),
        (Discrete(4), BLOCK, "got 5 numbers from nan to nan in blocks of 5"),
    ],
)
def test_worlds_of_other_actions_are_refused(handed: Any, space: Any, block: int, error: str) -> None:
    policy, _ = handed
    policy.policy.cfg.action_block = block
    with pytest.raises(ValueError, match=error):
        policy.set_env(SimpleNamespace(single_action_space=space, num_envs=1))


def test_without_the_extra_the_error_says_how_to_install_it(ours: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_worldmodel", None)
    monkeypatch.delitem(sys.modules, ours.__name__)
    with pytest.raises(ImportError, match=r"`pip install 'rlvr-world-hf\[swm\]'`"):
        importlib.import_module(ours.__name__)


def test_the_example_plans(
    swm: Any, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = make_pipeline(is_told_agent=True)
    save_world_model(tmp_path / "model", pipeline.model, pipeline.processor)
    example = repository / "examples" / "plan_swm.py"
    assert len([line for line in example.read_text(encoding="utf-8").splitlines() if line]) < 15
    monkeypatch.setattr(sys, "argv", [example.name, str(tmp_path / "model")])
    monkeypatch.syspath_prepend(example.parent)  # as a script has it
    world = swm.World
    monkeypatch.setattr(swm, "World", lambda *args, **options: world(*args, **{**options, "max_episode_steps": 10}))
    runpy.run_path(str(example))
    printed = capsys.readouterr().out
    assert printed.count("CEM solve time") == 2 and "'success_rate': 0.0" in printed
