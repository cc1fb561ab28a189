"""
The world of PushT itself, of gym-pusht: its physics, where agent and block are put, and how it is drawn. It knows no
episodes; see `simulator.py` for these.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...data.opencv import load_opencv
from .law import DAMPING, PHYSICS_SECONDS, PHYSICS_STEPS, STIFFNESS
from .policies import WORLD_SIZE


if TYPE_CHECKING:
    from gym_pusht.envs.pusht import PushTEnv

Colours = Literal["usual", "exchanged", "dim"]
"""Of frames: gym-pusht's; with red and blue exchanged; or three quarters as bright."""

CORNER, MIDDLE = (85.0, 115.0), (206.0, 306.0)
"""Distance of the block's origin from the two walls of a corner, and coordinates of the agent, in world units."""


def render_frame(world: PushTEnv, image_size: int) -> np.ndarray:
    """
    Draw the present state of a `gym_pusht` world.

    gym-pusht's own small observations are sampled without filtering, which loses thin parts; here the full drawing is
    averaged over the area of each pixel.

    Args:
        world (`gym_pusht.envs.pusht.PushTEnv`):
            The world, see [`make_world`].
        image_size (`int`):
            Height and width of the frame in pixels; divides 512.

    Returns:
        `numpy.ndarray` of shape `(3, image_size, image_size)`, uint8 RGB.
    """
    screen = world._draw()  # what gym-pusht's observations are made of, before they are sampled
    words = np.asarray(screen.get_view("2")).T  # (height, width), a pixel's bytes in each
    drawing = words.view(np.uint8).reshape(*words.shape, words.itemsize)
    cv2 = load_opencv()
    frame = cv2.resize(drawing, (image_size, image_size), interpolation=cv2.INTER_AREA)
    # SDL decides which byte of a pixel holds which colour.
    colors = [shift // 8 for shift in screen.get_shifts()[:3]]
    return np.ascontiguousarray(frame[..., colors].transpose(2, 0, 1))


def recolour(frame: np.ndarray, colours: Colours) -> np.ndarray:
    """
    A frame in other colours.

    Args:
        frame (`numpy.ndarray` of shape `(3, H, W)`):
            uint8 RGB.
        colours (`str`):
            See `Colours`.

    Returns:
        `numpy.ndarray` of the same shape, uint8 RGB.

    Example:

    ```python
    >>> pixel = np.array([65, 105, 225], np.uint8).reshape(3, 1, 1)
    >>> recolour(pixel, "exchanged").ravel().tolist(), recolour(pixel, "dim").ravel().tolist()
    ([225, 105, 65], [49, 79, 169])

    ```
    """
    if colours == "exchanged":
        return np.ascontiguousarray(frame[::-1])
    return np.round(0.75 * frame).astype(np.uint8) if colours == "dim" else frame


def make_world() -> PushTEnv:
    """A headless `gym_pusht` world, whose drawing and physics are used; its own `step` would score the task, too."""
    # Before gym-pusht imports pygame, which greets when it is imported.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    load_opencv()  # gym-pusht imports it, too; where that fails, this names the remedy
    from gym_pusht.envs.pusht import PushTEnv

    class UncountedPushT(PushTEnv):
        def _handle_collision(self, *args: Any) -> None:
            """Contacts are not counted, which saves time."""

    return UncountedPushT(obs_type="state")


def set_state(world: PushTEnv, state: np.ndarray) -> None:
    """
    Put agent and block somewhere, in the order of stable-worldmodel's PushT, with one step of physics after it.

    Its `reset` does this twice, first with the state of the goal. A block that the agent touches there is still pushed
    when it is put elsewhere, as its velocity is not set.

    Args:
        world (`gym_pusht.envs.pusht.PushTEnv`):
            A world after its reset.
        state (`numpy.ndarray` of shape `(7,)`):
            Position of the agent, position and angle of the block, velocity of the agent; in world units, radians, and
            world units a second.
    """
    place(world, state)
    world.space.step(PHYSICS_SECONDS)


def place(world: PushTEnv, state: np.ndarray) -> None:
    """Sets agent and block, in the order of [`set_state`]."""
    world.agent.velocity = (float(state[5]), float(state[6]))
    world.agent.position = (float(state[0]), float(state[1]))
    # Before the position, as it turns the block about its centre of mass, which is not the body's origin.
    world.block.angle = float(state[4])
    world.block.position = (float(state[2]), float(state[3]))


def pull_agent(world: PushTEnv, target: tuple[float, float]) -> None:
    """
    One control step towards a target.

    Args:
        world (`gym_pusht.envs.pusht.PushTEnv`):
            The world.
        target (`tuple[float, float]`):
            In world units.
    """
    # As gym-pusht's `step`, to the last bit, but with plain numbers, which takes half the time.
    agent, space = world.agent, world.space
    for _ in range(PHYSICS_STEPS):
        (x, y), (along_x, along_y) = agent.position, agent.velocity
        agent.velocity = (
            along_x + (STIFFNESS * (target[0] - x) + DAMPING * (0 - along_x)) * PHYSICS_SECONDS,
            along_y + (STIFFNESS * (target[1] - y) + DAMPING * (0 - along_y)) * PHYSICS_SECONDS,
        )
        space.step(PHYSICS_SECONDS)


def draw_corner(rng: np.random.Generator) -> np.ndarray:
    """A state `(7,)` of [`set_state`] at rest: the block in a corner, the agent in the middle of the table."""
    block = rng.uniform(*CORNER, 2)
    block = np.where(rng.random(2) < 0.5, block, WORLD_SIZE - block)
    return np.concatenate([rng.uniform(*MIDDLE, 2), block, [rng.uniform(-np.pi, np.pi), 0.0, 0.0]])
