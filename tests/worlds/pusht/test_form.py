import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlvr_world_hf.processors.video import VideoWorldModelProcessor
from rlvr_world_hf.worlds.pusht.form import PushTForm, common_form
from tests.tiny import tiny_joint_processor, tiny_processor, tiny_sensor_processor


def test_form_is_read_from_the_processor() -> None:
    assert PushTForm.of(tiny_processor(image_size=32, observed_steps=2)) == PushTForm(
        image_size=32, frame_interval=0.5, given_frames=3, prompt_actions=2, action_law="absolute"
    )
    assert PushTForm.of(tiny_processor(is_told_agent=True)).is_told_agent
    without_observed_steps = PushTForm.of(tiny_processor())
    assert (without_observed_steps.given_frames, without_observed_steps.prompt_actions) == (1, 1)


def test_a_processor_says_which_law_it_speaks(tmp_path: Path) -> None:
    for law, spoken, dims in ((None, "absolute", 2), ("absolute", "absolute", 2), ("relative", "relative", 10)):
        tiny_processor(action_law=law).save_pretrained(tmp_path / str(law))
        settings = json.loads((tmp_path / str(law) / "processor_config.json").read_text())
        assert settings.get("action_law", "nothing") == (law or "nothing")
        form = PushTForm.of(VideoWorldModelProcessor.from_pretrained(tmp_path / str(law)))
        assert (form.action_law, form.action_dims) == (spoken, dims)
        recording = form.record(3)
        assert recording.action_law == spoken and recording.actions.shape == (1, dims)


def test_a_law_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="`action_law` to be one of relative, absolute, got 'polar'"):
        PushTForm.of(tiny_processor(action_law="polar"))


def without_frame_rate() -> Any:
    processor = tiny_processor()
    processor.fps = None
    return processor


def misnamed() -> Any:
    processor = tiny_processor()
    processor.action_law = "relative"
    return processor


@pytest.mark.parametrize(
    ("processor", "given"),
    [
        (tiny_sensor_processor(), "got one that predicts sensors, 3 of them; give a checkpoint of a recipe such as "),
        (
            tiny_joint_processor(),
            "got one that predicts frames and sensors, 3 of them; give a checkpoint of a recipe ",
        ),
        (
            tiny_processor(image_size=24),
            "got frames of 24x24, 2 frames a second and 2 action dimensions of the absolute law;",
        ),
        (without_frame_rate(), "got frames of 16x16, no frame rate and 2 action dimensions of the absolute law;"),
        (misnamed(), "got frames of 16x16, 2 frames a second and 2 action dimensions of the relative law;"),
    ],
)
def test_other_worlds_are_refused_by_name(processor: Any, given: str) -> None:
    expected = "alone or with the agent's position, a frame rate and the action dimensions of its law, "
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
    with pytest.raises(ValueError, match="with action_law absolute and relative; give"):
        common_form({"base": small, "rlvr": tiny_processor(observed_steps=1, action_law="relative")})


@pytest.mark.parametrize("given_frames", [1, 2, 4])
def test_a_scene_begins_where_the_given_frames_can_be_seen(given_frames: int) -> None:
    form = PushTForm(image_size=16, frame_interval=0.5, given_frames=given_frames, prompt_actions=1)
    recording = form.record(3)
    assert len(recording.actions) == max(1, given_frames - 1)
    frames = recording.seen(given_frames)
    assert frames.shape == (given_frames, 3, 16, 16) and np.array_equal(frames[-1], recording.frame())
    assert list(form.see(recording)) == ["context"] and np.array_equal(form.see(recording)["context"], frames)
    told = dataclasses.replace(form, is_told_agent=True).see(recording)["context_states"]
    assert told.shape == (given_frames, 2) and np.array_equal(told[-1], recording.agent.astype(np.float32))
    recorded = recording.episode().states
    assert recorded is not None and np.array_equal(told[:-1], recorded[len(recorded) + 1 - given_frames :])
