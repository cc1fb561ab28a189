"""
The form of a world model of PushT: what it is given, of which size, and how often it decides.

Judging, planning and playing read it from the processor, so that the simulator shows a model what it was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .law import UNNAMED_LAW, ActionLaw, check_law, count_action_dims, count_control_steps
from .policies import WORLD_SIZE
from .simulator import Recording, record_policy


AGENT_DIMS = 2
"""Numbers of the agent's position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTForm:
    """
    What a world model of PushT is given, and how often it decides.

    Example:

    ```python
    >>> form = PushTForm(image_size=32, frame_interval=0.5, given_frames=2, prompt_actions=1)
    >>> form.record(seed=0).seen(form.given_frames).shape
    (2, 3, 32, 32)
    >>> form.action_law, form.action_dims
    ('relative', 10)

    ```
    """

    image_size: int
    """Height and width of a frame in pixels."""

    frame_interval: float
    """Seconds between two frames; an action is what is done between them."""

    given_frames: int
    """Frames before the first decision, the present one included."""

    prompt_actions: int
    """Actions before the first predicted frame: those between the observed frames, and the first decision."""

    action_law: ActionLaw = "relative"
    """What an action means, see `law.py`. Checkpoints whose processor names no law speak the absolute one."""

    is_told_agent: bool = False
    """Whether a frame comes with the agent's position, in world units, which the model then predicts, too."""

    @property
    def action_dims(self) -> int:
        """Numbers of an action."""
        return count_action_dims(self.action_law, self.frame_interval)

    @property
    def control_steps(self) -> int:
        """Control steps between two frames."""
        return count_control_steps(self.frame_interval)

    @classmethod
    def of(cls, processor: Any, *, name: str = "the model") -> PushTForm:
        """
        The form of a processor.

        Args:
            processor (`WorldModelProcessor`):
                That of the model.
            name (`str`, *optional*, defaults to `"the model"`):
                What the error calls it.

        Returns:
            `PushTForm`: its form.

        Raises:
            ValueError: If it is not the processor of a world model of PushT with frames, alone or with the agent's
                position.
        """
        if (found := _difference(processor)) is not None:
            raise ValueError(
                f"Expected {name} to be a world model of PushT, with square frames whose size divides "
                f"{WORLD_SIZE:.0f}, alone or with the agent's position, a frame rate and the action dimensions of its "
                f"law, got {found}; give a checkpoint of a recipe such as pusht/quickstart."
            )
        layout = processor.layout
        return cls(
            image_size=processor.codec.config.image_size[0],
            frame_interval=1 / processor.fps,
            given_frames=layout.context_frames + layout.observed_steps,
            prompt_actions=layout.prompt_actions,
            action_law=_law(processor),
            is_told_agent="sensors" in processor.predicts,
        )

    def record(self, seed: int) -> Recording:
        """
        The simulator at the first decision of a scene.

        Args:
            seed (`int`):
                Seed of the scene.

        Returns:
            [`Recording`]: an episode in the making, as long as it takes to see the given frames.
        """
        # At least one step, as an episode of none has nothing to stack.
        return record_policy(
            seed,
            length=max(1, self.given_frames - 1),
            image_size=self.image_size,
            frame_interval=self.frame_interval,
            action_law=self.action_law,
        )

    def see(self, recording: Recording) -> dict[str, np.ndarray]:
        """
        What a model of this form is given now, under the names of its prompt.

        Args:
            recording ([`Recording`]):
                The simulator.

        Returns:
            `dict[str, numpy.ndarray]`: `context` `(K, 3, H, W)`, uint8 RGB, and, where the model is told the agent's
            position, `context_states` `(K, 2)`, float32, in world units.
        """
        states = recording.seen_states(self.given_frames)[:, :AGENT_DIMS]  # of all states it comes first
        told = {"context_states": states} if self.is_told_agent else {}
        return {"context": recording.seen(self.given_frames), **told}


def common_form(processors: Mapping[str, Any]) -> PushTForm:
    """
    The form that several world models of PushT share.

    Args:
        processors (`Mapping[str, WorldModelProcessor]`):
            Their processors, at least one, by the names that an error calls them.

    Returns:
        [`PushTForm`]: the form of them all.

    Raises:
        ValueError: If one is no world model of PushT, or has another form than the first.

    Example:

    ```python
    >>> from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> coarse = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [512.0, 512.0], fps=2.0)
    >>> fine = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [512.0, 512.0], fps=10.0)
    >>> common_form({"base": coarse, "rlvr": fine})
    Traceback (most recent call last):
    ...
    ValueError: Expected models of one form, got 'base' and 'rlvr' with frame_interval 0.5 and 0.1; ...

    ```
    """
    forms = {name: PushTForm.of(processor, name=repr(name)) for name, processor in processors.items()}
    (first, form), *others = forms.items()
    for name, other in others:
        ours, theirs = asdict(form), asdict(other)
        if differing := [field for field in ours if ours[field] != theirs[field]]:
            found = ", ".join(f"{field} {ours[field]} and {theirs[field]}" for field in differing)
            raise ValueError(
                f"Expected models of one form, got {first!r} and {name!r} with {found}; give checkpoints of the same "
                "run, or of one recipe."
            )
    return form


def _difference(processor: Any) -> str | None:
    """How a processor differs from that of a model of PushT's frames; `None` if it does not."""
    sensors = getattr(getattr(processor, "layout", None), "sensor_dims", 0)
    if "frames" not in processor.predicts or sensors not in (0, AGENT_DIMS):
        return f"one that predicts {' and '.join(processor.predicts)}" + f", {sensors} of them" * (sensors > 0)
    height, width = processor.codec.config.image_size
    dims, law = processor.layout.action_dims, _law(processor)
    check_law(law)
    has_frames = height == width and WORLD_SIZE % height == 0 and processor.fps
    if has_frames and dims == count_action_dims(law, 1 / processor.fps):
        return None
    rate = f"{processor.fps:g} frames a second" if processor.fps else "no frame rate"
    return f"frames of {height}x{width}, {rate} and {dims} action dimensions of the {law} law"


def _law(processor: Any) -> ActionLaw:
    """The law of actions that a processor names, or else that of those which name none."""
    return processor.action_law or UNNAMED_LAW
