import os
import warnings

import cv2
import numpy as np
import pytest
import torch

from rlvr_world_hf.worlds.pusht.block import GOAL_CENTRE, locate_block


WORLD_SIZE = 512


@pytest.fixture(scope="module")
def recorded() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Drawings of gym-pusht `(512, 512, 3)`, the block's centroid, and that of the goal, in world units."""
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pygame asks for pkg_resources
        from gym_pusht.envs.pusht import PushTEnv
    rng = np.random.default_rng(0)
    world = PushTEnv(obs_type="pixels_agent_pos", observation_width=WORLD_SIZE, observation_height=WORLD_SIZE)
    drawings, centroids = [], []
    for seed in range(25):
        world.reset(seed=seed)
        for _ in range(6):
            target = np.array(world.block.position) + rng.normal(0, 40, 2)
            observation, *_ = world.step(np.clip(target, 20, 492))
            drawings.append(observation["pixels"])
            centroids.append(centroid(world.block))
    goal = world.get_goal_pose_body(world.goal_pose)
    return drawings, np.stack(centroids), centroid(goal)


def centroid(body) -> np.ndarray:
    """Of two bars, 120 x 30 and 30 x 90, weighted by their areas."""
    bars = [body.local_to_world((0, 15)), body.local_to_world((0, 75))]
    return np.average([list(bar) for bar in bars], axis=0, weights=[3600, 2700])


def shrink(drawings: list[np.ndarray], size: int) -> torch.Tensor:
    frames = np.stack([cv2.resize(drawing, (size, size), interpolation=cv2.INTER_AREA) for drawing in drawings])
    return torch.from_numpy(frames.transpose(0, 3, 1, 2)).float() / 255


@pytest.mark.parametrize("size", [32, 64, 96])
def test_it_agrees_with_the_simulator(recorded, size: int) -> None:
    drawings, centroids, _ = recorded
    located = locate_block(shrink(drawings, size)).numpy() * WORLD_SIZE
    error = np.abs(located - centroids)
    assert error.mean() < {32: 2.5, 64: 1.5, 96: 1.5}[size]
    assert error.max() < {32: 14.0, 64: 8.0, 96: 8.0}[size]
    assert np.abs((located - centroids).mean(axis=0)).max() < 1.0, "no bias"


def test_goal_is_where_the_simulator_has_it(recorded) -> None:
    np.testing.assert_allclose(np.array(GOAL_CENTRE) * WORLD_SIZE, recorded[2], atol=0.01)


def test_a_frame_without_the_block_has_no_position(recorded) -> None:
    frames = shrink(recorded[0][:2], 64)
    red, green, blue = frames.unbind(1)
    grey = ((blue - red) < 0.25) & ((red - green).abs() < 0.12) & (red < 0.8)
    assert locate_block(frames.masked_fill(grey.unsqueeze(1), 1.0)).isnan().all()
    assert locate_block(torch.ones(1, 3, 64, 64)).isnan().all()
    assert locate_block(torch.zeros(2, 0, 3, 64, 64)).shape == (2, 0, 2)


def test_precision_and_sides_are_those_of_the_frame() -> None:
    frame = torch.ones(2, 1, 3, 48, 96, dtype=torch.float64)
    colour = torch.tensor([142.8, 163.2, 183.6], dtype=torch.float64) / 255
    frame[..., 10:30, 60:80] = colour[:, None, None]
    position = locate_block(frame)
    assert position.shape == (2, 1, 2) and position.dtype == torch.float64
    assert torch.allclose(position[0, 0], torch.tensor([70 / 96, 20 / 48], dtype=torch.float64))


def test_frames_of_another_form_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 64, 64\)"):
        locate_block(torch.zeros(4, 64, 64))
    with pytest.raises(TypeError, match="uint8"):
        locate_block(torch.zeros(3, 64, 64, dtype=torch.uint8))
