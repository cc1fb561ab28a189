import math

import numpy as np
import pytest
import torch

from rlvr_world_hf.worlds.pusht.block import BLOCK_RGB, SURROUNDING_RGB, locate_block
from rlvr_world_hf.worlds.pusht.colours import colour_share
from rlvr_world_hf.worlds.pusht.physics import make_world
from rlvr_world_hf.worlds.pusht.pose import CENTROID, distance_to_block, draw_block, pose_of_states, read_pose
from rlvr_world_hf.worlds.pusht.simulator import collect_episode


WORLD_SIZE = 512
SEEDS = 6


def record(image_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames `(N, 3, H, W)` and states `(N, 6)` of episodes in which the block is pushed and turned."""
    settings = {"length": 15, "image_size": image_size, "frame_interval": 0.5, "states": "agent_and_block"}
    episodes = [collect_episode(seed, **settings, policies={"near_block": 1.0}) for seed in range(SEEDS)]
    frames, states = (np.concatenate([getattr(item, name) for item in episodes]) for name in ("frames", "states"))
    return torch.from_numpy(frames).float() / 255, torch.from_numpy(states)


@pytest.fixture(scope="module")
def recorded() -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    return {image_size: record(image_size) for image_size in (32, 64, 128)}


def errors(frames: torch.Tensor, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance in world units and angle in degrees between what is read and what is so."""
    read, true = read_pose(frames), pose_of_states(states)
    turned = (read[:, 2] - true[:, 2] + math.pi) % (2 * math.pi) - math.pi
    return (read[:, :2] - true[:, :2]).norm(dim=1) * WORLD_SIZE, turned.abs() * (180 / math.pi)


def in_95_of_100(values: torch.Tensor) -> float:
    return values.quantile(0.95).item()


@pytest.mark.parametrize(("image_size", "units", "degrees"), [(32, 4.0, 4.0), (64, 2.0, 1.5), (128, 2.0, 1.0)])
def test_it_agrees_with_the_simulator(recorded, image_size: int, units: float, degrees: float) -> None:
    distance, turned = errors(*recorded[image_size])
    assert not distance.isnan().any()
    assert in_95_of_100(distance) < units and distance.max() < 12
    assert in_95_of_100(turned) < degrees and turned.max() < 12
    assert turned.median() < degrees / 3


def test_a_block_that_the_agent_hides_in_part_is_where_it_is(recorded) -> None:
    frames, states = recorded[64]
    true = pose_of_states(states)[:, :2] * WORLD_SIZE
    far = (states[:, :2] - true).norm(dim=1) > 110
    frames, states, true = frames[far][:20], states[far][:20], true[far][:20]
    rows, columns = torch.meshgrid(*[(torch.arange(64) + 0.5) * 8] * 2, indexing="ij")
    # Drawn on the end of its stem, of which it leaves a third to be seen.
    stem = true + (true - states[:, 2:4]) * (45 / CENTROID)
    away = ((columns - stem[:, 0, None, None]) ** 2 + (rows - stem[:, 1, None, None]) ** 2).sqrt()
    # The agent that was there before goes, or there would be two.
    was = ((columns - states[:, 0, None, None]) ** 2 + (rows - states[:, 1, None, None]) ** 2).sqrt() < 24
    colour = torch.tensor([65, 105, 225]).view(1, 3, 1, 1) / 255
    drawn = torch.where(was[:, None], torch.ones(1), frames)
    drawn = torch.where((away < 16)[:, None], colour, drawn)
    distance, turned = errors(drawn, states)
    assert in_95_of_100(distance) < 5 and in_95_of_100(turned) < 3
    centroid_alone = (locate_block(drawn) * WORLD_SIZE - true).norm(dim=1)
    assert centroid_alone.median() > 2 * distance.median(), "the centroid of what is seen is drawn aside"


def test_noise_does_not_turn_it(recorded) -> None:
    frames, states = recorded[64]
    noise = 0.05 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    distance, turned = errors((frames + noise).clamp(0, 1), states)
    assert in_95_of_100(distance) < 5 and in_95_of_100(turned) < 3


def test_a_frame_is_read_alone_and_in_any_batch(recorded) -> None:
    frames, _ = recorded[64]
    together = read_pose(frames[:6])
    assert torch.allclose(together, torch.stack([read_pose(frame) for frame in frames[:6]]), atol=1e-4)
    assert torch.allclose(read_pose(frames[:6].unflatten(0, (2, 3))).flatten(0, 1), together, atol=1e-4)


def test_a_frame_without_the_block_has_no_pose() -> None:
    assert read_pose(torch.ones(2, 1, 3, 64, 64)).isnan().all()
    assert read_pose(torch.zeros(0, 3, 64, 64)).shape == (0, 3)


def test_states_have_the_centroid_of_the_body() -> None:
    turned = torch.tensor([0.0, 0.0, 256.0, 256.0, 0.0, 1.0])  # by a quarter
    assert torch.allclose(
        pose_of_states(turned), torch.tensor([(256 - CENTROID) / WORLD_SIZE, 0.5, math.pi / 2]), atol=1e-6
    )
    with pytest.raises(ValueError, match="agent and block, 6 numbers"):
        pose_of_states(torch.zeros(3, 2))


def test_frames_of_another_form_are_refused() -> None:
    with pytest.raises(ValueError, match="square"):
        read_pose(torch.zeros(3, 48, 64))
    with pytest.raises(ValueError, match=r"\(4, 64, 64\)"):
        read_pose(torch.zeros(4, 64, 64))
    with pytest.raises(TypeError, match="uint8"):
        read_pose(torch.zeros(3, 64, 64, dtype=torch.uint8))


def test_a_drawn_block_has_the_pose_it_was_drawn_at(recorded) -> None:
    frames, states = recorded[64]
    true = pose_of_states(states)[::7]
    drawn = draw_block(true, 64)
    read = read_pose(1 - drawn[:, None] * (1 - torch.tensor([142.8, 163.2, 183.6]).view(3, 1, 1) / 255))
    assert ((read - true)[:, :2].norm(dim=1) * WORLD_SIZE).median() < 1
    shown = colour_share(frames[::7], BLOCK_RGB, SURROUNDING_RGB)
    is_near = drawn > 0
    assert (shown - drawn)[is_near].abs().mean() < 0.1, "as the simulator draws it"
    assert draw_block(torch.full((3,), torch.nan), 16).sum() == 0


def test_points_are_as_far_as_the_simulator_s_body_says() -> None:
    world = make_world()
    world.reset(seed=3)
    rng = np.random.default_rng(0)
    points = rng.uniform(0, WORLD_SIZE, (200, 2))
    body = world.block
    expected = [max(0.0, min(shape.point_query(tuple(at)).distance for shape in body.shapes)) for at in points]
    angle = torch.tensor([0.0, 0.0, *body.position, math.cos(body.angle), math.sin(body.angle)])
    distances = distance_to_block(torch.from_numpy(points).float() / WORLD_SIZE, pose_of_states(angle))
    np.testing.assert_allclose(distances.numpy(), expected, atol=0.05)
