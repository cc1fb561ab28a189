import numpy as np
import pytest

from rlvr_world_hf.worlds.pusht.physics import (
    CORNER,
    MIDDLE,
    draw_corner,
    make_world,
    place,
    pull_agent,
    recolour,
    render_frame,
)
from rlvr_world_hf.worlds.pusht.policies import WORLD_SIZE


def test_a_frame_is_the_whole_drawing_averaged() -> None:
    from pygame.image import tobytes

    world = make_world()
    world.reset(seed=0)
    drawing = np.frombuffer(tobytes(world._draw(), "RGB"), dtype=np.uint8).reshape(64, 8, 64, 8, 3)
    mean = drawing.astype(float).mean((1, 3)).transpose(2, 0, 1)
    assert np.abs(render_frame(world, 64) - mean).max() <= 0.5  # rounding


def test_agent_and_block_are_where_they_are_put() -> None:
    world = make_world()
    world.reset(seed=0)
    place(world, np.array([100.0, 400.0, 300.0, 200.0, 1.0, 30.0, -40.0]))
    assert tuple(world.agent.position) == (100, 400) and tuple(world.agent.velocity) == (30, -40)
    assert world.block.angle == 1 and tuple(world.block.position) == pytest.approx((300, 200))


def test_a_control_step_is_that_of_gym_pusht() -> None:
    own, theirs = make_world(), make_world()
    for world in (own, theirs):
        world.reset(seed=5)
    for target in ((40.0, 60.0), (480.0, 300.0)):
        pull_agent(own, target)
        theirs.step(np.array(target))
    assert np.array_equal(own.get_obs(), theirs.get_obs())


def test_corners_are_all_drawn_and_the_agent_is_in_the_middle() -> None:
    states = np.array([draw_corner(np.random.default_rng(seed)) for seed in range(64)])
    away = np.minimum(states[:, 2:4], WORLD_SIZE - states[:, 2:4])
    assert ((away >= CORNER[0]) & (away <= CORNER[1])).all() and not states[:, 5:].any()
    assert ((states[:, :2] >= MIDDLE[0]) & (states[:, :2] <= MIDDLE[1])).all()
    assert len({tuple(at) for at in states[:, 2:4] > WORLD_SIZE / 2}) == 4


def test_the_usual_colours_are_left_alone() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    assert recolour(frame, "usual") is frame
