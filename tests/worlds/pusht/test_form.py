import re
from typing import Any

import numpy as np
import pytest

from rlvr_world_hf.worlds.pusht.form import PushTForm, common_form
from tests.tiny import tiny_processor, tiny_sensor_processor


def test_form_is_read_from_the_processor() -> None:
    assert PushTForm.of(tiny_processor(image_size=32, observed_steps=2)) == PushTForm(
        image_size=32, frame_interval=0.5, given_frames=3, prompt_actions=2
    )
    without_observed_steps = PushTForm.of(tiny_processor())
    assert (without_observed_steps.given_frames, without_observed_steps.prompt_actions) == (1, 1)


def without_frame_rate() -> Any:
    processor = tiny_processor()
    processor.fps = None
    return processor


@pytest.mark.parametrize(
    ("processor", "given"),
    [
        (tiny_sensor_processor(), "got one that predicts sensors; give a checkpoint of a recipe such as pusht/"),
        (tiny_processor(image_size=24), "got frames of 24x24, 2 frames a second and 2 action dimensions;"),
        (without_frame_rate(), "got frames of 16x16, no frame rate and 2 action dimensions;"),
    ],
)
def test_other_worlds_are_refused_by_name(processor: Any, given: str) -> None:
    expected = "whose size divides 512, a frame rate and 2 action dimensions, "
    for name, named in (("the model", {}), ("'base'", {"name": "'base'"})):
        with pytest.raises(ValueError, match=f"^Expected {name} to be a world .*{re.escape(expected + given)}"):
            PushTForm.of(processor, **named)
    with pytest.raises(ValueError, match="^Expected 'other' to be a world model of PushT"):
        common_form({"base": tiny_processor(), "other": processor})


def test_models_of_one_form_share_it_and_those_that_differ_are_named() -> None:
    small, large = tiny_processor(observed_steps=1), tiny_processor(image_size=32, observed_steps=2)
    assert common_form({"base": small, "rlvr": tiny_processor(observed_steps=1)}) == PushTForm.of(small)
    found = "'base' and 'rlvr' with image_size 16 and 32, given_frames 2 and 3, prompt_actions 1 and 2; give"
    with pytest.raises(ValueError, match=f"Expected models of one form, got {found}"):
        common_form({"base": small, "again": small, "rlvr": large})


@pytest.mark.parametrize("given_frames", [1, 2, 4])
def test_a_scene_begins_where_the_given_frames_can_be_seen(given_frames: int) -> None:
    form = PushTForm(image_size=16, frame_interval=0.5, given_frames=given_frames, prompt_actions=1)
    recording = form.record(3)
    assert len(recording.targets) == max(1, given_frames - 1)
    frames = recording.seen(given_frames)
    assert frames.shape == (given_frames, 3, 16, 16) and np.array_equal(frames[-1], recording.frame())
