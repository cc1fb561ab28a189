import numpy as np
import pytest
import torch

from rlvr_world_hf.worlds.pusht import rigidity_rewards
from rlvr_world_hf.worlds.pusht.pose import read_pose
from rlvr_world_hf.worlds.pusht.rigidity_rewards import TOLERANCE, RigidityReward, block_violation
from rlvr_world_hf.worlds.pusht.simulator import collect_episode
from tests.worlds.pusht.test_pose_rewards import BLOCK, draw


@pytest.fixture(scope="module")
def recorded() -> torch.Tensor:
    """Frames `(N, 3, 64, 64)` of episodes in which the block is pushed and turned, also to the walls."""
    settings = {"length": 15, "image_size": 64, "frame_interval": 0.5, "policies": {"near_block": 1.0}}
    episodes = [collect_episode(seed, **settings) for seed in range(8)]
    return torch.from_numpy(np.concatenate([episode.frames for episode in episodes])).float() / 255


def test_recorded_frames_show_one_whole_block(recorded: torch.Tensor) -> None:
    violation = block_violation(recorded)
    assert violation.median() < 0.17
    assert violation.max() < TOLERANCE
    assert RigidityReward().measure(recorded[:, None], recorded[:, None]).max() == 0


def test_what_cannot_be_is_seen() -> None:
    whole = draw(0.4, 0.4, 30)
    grey = whole.clone()
    grey[:, 44:54, 44:54] = BLOCK
    line = (torch.arange(64) + 0.5) / 64
    violated = {
        "none": torch.ones(3, 64, 64),
        "two": torch.minimum(whole, draw(0.7, 0.75, 100)),
        "half": torch.where(line[None, None] < 0.4, whole, torch.ones(1)),
        "faded": 1 - 0.5 * (1 - whole),
        "and another patch": grey,
        "larger": torch.nn.functional.interpolate(whole[None], scale_factor=1.5, mode="bilinear")[0, :, 10:74, 10:74],
        "blurred": torch.nn.functional.avg_pool2d(whole[None], 9, stride=1, padding=4, count_include_pad=False)[0],
        "torn": torch.where(line[None, :, None] < 0.4, whole, whole.roll(6, dims=-1)),
    }
    values = {name: block_violation(frame).item() for name, frame in violated.items()}
    assert block_violation(whole) < TOLERANCE / 2
    assert values["none"] == values["two"] == 1
    assert min(values.values()) > TOLERANCE, values


def test_a_frame_of_the_blocks_colour_costs_from_where_no_wall_stands(recorded: torch.Tensor) -> None:
    for width, violation in ((1, block_violation(recorded[:8])), (2, torch.ones(8)), (3, torch.ones(8))):
        framed = BLOCK.expand(8, 3, 64, 64).clone()
        inside = slice(width, 64 - width)
        framed[..., inside, inside] = recorded[:8, :, inside, inside]
        torch.testing.assert_close(block_violation(framed), violation)


@pytest.mark.parametrize("place", [(0.5, 0.5, 0.0), (0.3, 0.62, 77.0), (0.7, 0.4, -160.0)])
def test_a_whole_block_may_be_anywhere_and_the_agent_may_hide_it(place: tuple[float, float, float]) -> None:
    x, y, degrees = place
    assert block_violation(draw(*place)) < TOLERANCE / 2
    assert block_violation(draw(x, y, degrees, agent=(x, y))) < TOLERANCE


def test_it_reads_no_reference_and_says_that_it_should_not_be_alone() -> None:
    whole, none = draw(0.4, 0.4, 30)[None], torch.ones(1, 3, 64, 64)
    assert RigidityReward()(predicted=[whole, whole, none], reference=[whole, none, none]) == [0, 0, -1]
    assert "BlockPoseReward" in RigidityReward.alone


def test_a_prediction_is_read_once_for_what_is_diagnosed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = torch.stack([draw(0.4, 0.4, 30), torch.ones(3, 64, 64)])
    reference, read = torch.ones(1, 2, 3, 64, 64), []
    expected = RigidityReward().diagnose(frames[None], reference)["rigidity_violation"].mean().item()
    monkeypatch.setattr(
        rigidity_rewards, "read_pose", lambda states: read.append(states[..., 0, 0, 0].numel()) or read_pose(states)
    )
    scores = RigidityReward().score_groups(frames[None, None].expand(1, 3, -1, -1, -1, -1), reference)
    assert read == [3 * 2]
    assert scores.metrics == {"parse_failure": 0.0, "rigidity_violation": expected} and expected == 0.5
    assert scores.steps[0].tolist() == [[0.0, -1.0]] * 3


def test_the_tolerance_is_part_of_the_name_and_in_range() -> None:
    assert RigidityReward(tolerance=0.5).name == "rigidity_error_0.5"
    with pytest.raises(ValueError, match="tolerance"):
        RigidityReward(tolerance=1.0)
