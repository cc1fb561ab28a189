import os
import warnings

import cv2
import numpy as np
import pytest
import torch

from rlvr_world_hf.worlds.pusht.agent import locate_agent


WORLD_SIZE = 512


@pytest.fixture(scope="module")
def recorded() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Drawings of gym-pusht `(512, 512, 3)`, the agent's position in world units, and whether it touched the block."""
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pygame asks for pkg_resources
        from gym_pusht.envs.pusht import PushTEnv
    rng = np.random.default_rng(0)
    world = PushTEnv(obs_type="pixels_agent_pos", observation_width=WORLD_SIZE, observation_height=WORLD_SIZE)
    drawings, positions, touches = [], [], []
    for seed in range(25):
        world.reset(seed=seed)
        for step in range(10):
            block = np.array(world.block.position)
            target = block + rng.normal(0, 40, 2) if step % 2 == 0 else rng.uniform(20, 492, 2)
            observation, *_ = world.step(np.clip(target, 20, 492))
            drawings.append(observation["pixels"])
            positions.append(observation["agent_pos"])
            touches.append(world.n_contact_points > 0)
    return drawings, np.stack(positions), np.array(touches)


def shrink(drawings: list[np.ndarray], size: int, interpolation: int = cv2.INTER_AREA) -> torch.Tensor:
    frames = np.stack([cv2.resize(drawing, (size, size), interpolation=interpolation) for drawing in drawings])
    return torch.from_numpy(frames.transpose(0, 3, 1, 2)).float() / 255


@pytest.mark.parametrize("size", [32, 64, 96])
@pytest.mark.parametrize("interpolation", [cv2.INTER_AREA, cv2.INTER_LINEAR], ids=["area", "linear"])
def test_it_agrees_with_the_simulator(recorded, size: int, interpolation: int) -> None:
    drawings, positions, touches = recorded
    assert 50 < touches.sum() < len(touches) - 50
    located = locate_agent(shrink(drawings, size, interpolation)).numpy() * WORLD_SIZE
    error = np.abs(located - positions)
    smooth = 1.0 if interpolation == cv2.INTER_AREA else 2.0  # gym-pusht's own frames are sampled, not averaged
    assert error.mean() < smooth * {32: 0.8, 64: 0.5, 96: 0.4}[size]
    assert error[touches].mean() < smooth * {32: 0.8, 64: 0.5, 96: 0.4}[size]
    if size >= 64:
        assert error.max() < 0.01 * WORLD_SIZE
    assert np.abs((located - positions).mean(axis=0)).max() < 0.3, "no bias"


def test_noise_does_not_carry_it_away(recorded) -> None:
    drawings, positions, _ = recorded
    frames = shrink(drawings, 64)
    noise = 0.03 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    located = locate_agent((frames + noise).clamp(0, 1)).numpy() * WORLD_SIZE
    assert np.abs(located - positions).mean() < 1
    assert np.abs(located - positions).max() < 0.01 * WORLD_SIZE


def test_a_frame_without_the_agent_has_no_position(recorded) -> None:
    frames = shrink(recorded[0][:2], 64)
    blue = (frames[:, 2] - frames[:, 0]).unsqueeze(1) > 0.2
    assert locate_agent(frames.masked_fill(blue, 1.0)).isnan().all()
    assert locate_agent(torch.zeros(2, 0, 3, 64, 64)).shape == (2, 0, 2)


def test_a_faint_second_agent_does_not_pull() -> None:
    frame = torch.ones(3, 64, 64)
    agent = torch.tensor([65, 105, 225])[:, None, None] / 255
    frame[:, 10:14, 10:14] = agent
    frame[:, 40:44, 50:54] = (agent + 1) / 2
    assert torch.allclose(locate_agent(frame) * 64, torch.tensor([12.0, 12.0]))


def test_x_and_y_are_fractions_of_their_own_side() -> None:
    frame = torch.ones(2, 1, 3, 48, 96, dtype=torch.float64)
    frame[..., 10:14, 70:74] = torch.tensor([65, 105, 225], dtype=torch.float64)[:, None, None] / 255
    position = locate_agent(frame)
    assert position.shape == (2, 1, 2) and position.dtype == torch.float64
    assert torch.allclose(position[0, 0], torch.tensor([72 / 96, 12 / 48], dtype=torch.float64))


def test_frames_of_another_form_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 64, 64\)"):
        locate_agent(torch.zeros(4, 64, 64))
    with pytest.raises(TypeError, match="uint8"):
        locate_agent(torch.zeros(3, 64, 64, dtype=torch.uint8))
