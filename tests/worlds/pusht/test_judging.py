import numpy as np
import pytest
import torch

from rlvr_world_hf.worlds.pusht.agent import locate_agent
from rlvr_world_hf.worlds.pusht.block import locate_block
from rlvr_world_hf.worlds.pusht.form import PushTForm
from rlvr_world_hf.worlds.pusht.goal_policies import GOAL, GoalPushingPolicy, Policy, StillPolicy
from rlvr_world_hf.worlds.pusht.judging import (
    FIRST_SEED,
    GOAL_ANGLE,
    PredictedWorld,
    SimulatedWorld,
    distances_to_goal,
    find_scenes,
    play,
    poses_to_goal,
)
from rlvr_world_hf.worlds.pusht.policies import REACH, WORLD_SIZE
from rlvr_world_hf.worlds.pusht.pose import CENTROID
from rlvr_world_hf.worlds.pusht.simulator import Recording
from tests.environments.worlds import make_pipeline
from tests.tiny import tiny_processor


FORM = PushTForm(image_size=64, frame_interval=0.5, given_frames=2, prompt_actions=1)
SCENES = [FIRST_SEED, FIRST_SEED + 1]


def painted(centre: np.ndarray) -> torch.Tensor:
    """A frame with a block-coloured square."""
    frame = torch.ones(3, 64, 64)
    column, row = (centre / 8).round().astype(int)
    frame[:, row - 5 : row + 5, column - 5 : column + 5] = torch.tensor([142.8, 163.2, 183.6])[:, None, None] / 255
    return frame


class RecordedWorld:
    """Shows given frames, then the last one again and again, and keeps what is done."""

    form = FORM
    velocities = np.zeros((1, 2))

    def __init__(self, frames: list[torch.Tensor]) -> None:
        self.shown = frames
        self.actions: list[np.ndarray] = []

    def frames(self) -> torch.Tensor:
        return self.shown[min(len(self.actions), len(self.shown) - 1)][None]

    def act(self, actions: np.ndarray) -> None:
        self.actions.append(actions)


@pytest.mark.parametrize(("law", "is_told_agent"), [("relative", False), ("relative", True), ("absolute", False)])
def test_simulator_and_model_begin_with_the_same_frame(law: str, is_told_agent: bool) -> None:
    pipeline = make_pipeline(
        tiny_processor(image_size=64, observed_steps=1, action_law=law, is_told_agent=is_told_agent)
    )
    predicted = PredictedWorld(pipeline, SCENES, temperature=0.0)
    simulated = SimulatedWorld(SCENES, PushTForm.of(pipeline.processor))
    assert torch.equal(predicted.frames(), simulated.frames())
    window = predicted.env.envs[0].window
    assert window is not None and torch.equal(window.given["context"][-1], simulated.frames()[0])
    assert not torch.equal(window.given["context"][0], window.given["context"][1]), "the world had begun to move"
    assert np.array_equal(predicted.velocities, simulated.velocities)
    actions = np.full((2, 2), 256.0) if law == "absolute" else np.full((2, 10), 0.5)
    predicted.act(actions)
    simulated.act(actions)
    assert predicted.frames().shape == simulated.frames().shape and not torch.equal(
        predicted.frames(), simulated.frames()
    )


def test_past_actions_are_those_between_the_given_frames() -> None:
    pipeline = make_pipeline(tiny_processor(image_size=32, observed_steps=3))
    window = PredictedWorld(pipeline, SCENES[:1]).env.envs[0].window
    recording = PushTForm.of(pipeline.processor).record(SCENES[0])
    episode = recording.episode()
    assert window is not None and torch.equal(window.actions, torch.from_numpy(episode.actions[1:3]))
    shown = np.stack([*episode.required_frames, recording.frame()])
    assert torch.equal(window.given["context"], torch.from_numpy(shown).float() / 255)


def test_scenes_begin_away_from_the_goal_and_are_others_by_seed() -> None:
    found = find_scenes(3, seed=0, nearest=64, farthest=170, form=FORM)
    distances = distances_to_goal(SimulatedWorld(found, FORM).frames())
    assert len(set(found)) == 3 and (distances >= 64).all() and (distances <= 170).all()
    assert not set(found) & set(find_scenes(3, seed=1, nearest=64, farthest=170, form=FORM))
    with pytest.raises(ValueError, match="Found 0 scenes of 1"):
        find_scenes(1, seed=0, nearest=1000, farthest=2000, form=FORM)
    with pytest.raises(ValueError, match="at least 1 episode"):
        find_scenes(0, seed=0, nearest=64, farthest=170, form=FORM)


def test_distance_is_that_of_the_centroid() -> None:
    frames = torch.stack([painted(np.array([304.0, 288.0])), torch.ones(3, 64, 64)])
    found = distances_to_goal(frames)
    assert found[0] == pytest.approx(np.linalg.norm([304, 288] - GOAL), abs=0.5) and np.isnan(found[1])


def test_the_pose_is_that_of_the_simulator_and_the_goal_has_none_to_go() -> None:
    frames, expected = [], []
    for x, y, angle in ((256.0, 256.0, GOAL_ANGLE), (300.0, 200.0, GOAL_ANGLE + np.pi - 0.1), (200.0, 300.0, -2.5)):
        recording = Recording(0, image_size=64, frame_interval=0.5)
        recording.put(np.array([60.0, 60.0, x, y, angle, 0.0, 0.0]))
        frames.append(torch.from_numpy(recording.frame()).float() / 255)
        turn = abs((np.degrees(angle - GOAL_ANGLE) + 180) % 360 - 180)
        centroid = np.array([x, y]) + CENTROID * np.array([-np.sin(angle), np.cos(angle)])
        expected.append((np.linalg.norm(centroid - GOAL), turn))
    found = np.stack(poses_to_goal(torch.stack([*frames, torch.ones(3, 64, 64)])), axis=1)
    np.testing.assert_allclose(found[:3], expected, atol=3)
    assert found[0] == pytest.approx([0, 0], abs=3) and np.isnan(found[3]).all()


def test_who_stays_moves_nothing_in_the_simulator() -> None:
    world = SimulatedWorld(SCENES, FORM)
    before = locate_block(world.frames()) * WORLD_SIZE
    far, _ = poses_to_goal(play(world, StillPolicy, SCENES, steps=2))
    assert far == pytest.approx(np.linalg.norm(before.numpy() - GOAL, axis=-1), abs=15)


def test_the_policy_acts_on_what_the_frames_show() -> None:
    frames = [painted(np.array([400.0, 400.0])), torch.ones(3, 64, 64), painted(np.array([240.0, 288.0]))]
    world = RecordedWorld(frames)
    asked = []

    def make(rng):
        return lambda agent, block: asked.append((agent, block)) or block

    far = distances_to_goal(play(world, make, [0], steps=3))
    blocks = np.stack([block for _, block in asked])
    assert blocks == pytest.approx(np.array([[400.0, 400.0], [400.0, 400.0], [240.0, 288.0]]), abs=0.5)
    assert np.allclose([agent for agent, _ in asked], 256.0), (
        "an agent that was never seen is taken to be in the middle"
    )
    assert far[0] == pytest.approx(np.linalg.norm([240, 288] - GOAL), abs=0.5)


def test_noise_of_a_policy_is_that_of_its_scene() -> None:
    def drawn(scenes):
        found = []
        play(RecordedWorld([torch.ones(3, 64, 64)]), lambda rng: lambda *seen: found.append(rng.random()) or seen[0],
             scenes, steps=1)  # fmt: skip
        return found

    assert drawn([5]) == drawn([5]) != drawn([6])


def test_the_good_policy_brings_the_block_to_the_goal() -> None:
    scenes = find_scenes(10, seed=0, nearest=64, farthest=170, form=FORM)
    good, poor = (
        poses_to_goal(play(SimulatedWorld(scenes, FORM), make, scenes, steps=16))[0]
        for make in (GoalPushingPolicy, StillPolicy)
    )
    assert (good <= 32).mean() >= 0.5 > (poor <= 32).mean() == 0


def test_the_agent_is_found_where_the_simulator_has_it() -> None:
    world = SimulatedWorld(SCENES, FORM)
    world.act(np.stack([recording.aim(recording.agent + [REACH, 0]) for recording in world.recordings]))
    found = locate_agent(world.frames()).numpy() * WORLD_SIZE
    assert found == pytest.approx(np.stack([recording.agent for recording in world.recordings]), abs=4)


def test_a_target_is_reached_by_relative_actions_from_where_the_agent_is_seen() -> None:
    world = SimulatedWorld(SCENES, FORM)
    goal = np.array([[64.0, 440.0], [448.0, 64.0]])
    chosen = iter(goal)

    def make(rng: np.random.Generator) -> Policy:
        target = next(chosen)
        return lambda agent, block: target

    play(world, make, SCENES, steps=6)
    reached = np.stack([recording.agent for recording in world.recordings])
    assert reached == pytest.approx(goal, abs=6), "as exact as an agent is located, without drift"
    actions = world.recordings[0].actions
    assert actions.shape[1] == 10 and np.abs(actions).max() <= 1
