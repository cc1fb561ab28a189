import numpy as np
import pytest
import torch

from rlvr_world_hf.data import ClipAugmentation, Episode, window_rows


def still_clip(frames: int = 4) -> np.ndarray:
    frame = np.random.default_rng(0).integers(30, 220, (3, 12, 16), dtype=np.uint8)
    return np.stack([frame] * frames)


@pytest.mark.parametrize(
    "changes",
    [
        {"brightness": (0.5, 0.6)},
        {"contrast": (0.5, 0.6)},
        {"saturation": (0.2, 0.3)},
        {"hue": (0.2, 0.3)},
        {"crop_scale": (0.5, 0.6)},
    ],
)
def test_each_change_is_the_same_for_all_frames_of_a_clip(changes: dict) -> None:
    nothing = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)}
    clip = still_clip()
    assert np.array_equal(ClipAugmentation(**nothing)(clip, seed=[0]), clip)
    changed = ClipAugmentation(**nothing | changes)(clip, seed=[0])
    assert (changed != clip).mean() > 0.5
    assert all(np.array_equal(frame, changed[0]) for frame in changed)
    assert not np.array_equal(ClipAugmentation(**nothing | changes)(clip, seed=[1]), changed)


def test_a_draw_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    ClipAugmentation()(still_clip(), seed=[0])
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hue": (-0.6, 0.0)}, r"`hue` as \[lowest, highest\] within -0.5 and 0.5, got \[-0.6, 0.0\]"),
        ({"crop_scale": (0.0, 1.0)}, "`crop_scale`"),
        ({"crop_scale": (0.5, 1.5)}, "`crop_scale`"),
        ({"brightness": (1.1, 0.9)}, "`brightness`"),
    ],
)
def test_intervals_out_of_range_are_refused(changes: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ClipAugmentation(**changes)


def test_context_and_reference_of_a_row_change_alike_and_the_same_way_each_time() -> None:
    episode = Episode(episode_id="0", frames=still_clip(6), actions=np.zeros((6, 2), np.float32), fps=1.0)
    plain = window_rows([episode], observed_steps=1, horizon=2)
    changed = window_rows([episode], observed_steps=1, horizon=2, augmentation=ClipAugmentation())
    for row, before in zip(changed, plain, strict=True):
        frames = np.concatenate([row["context"], row["reference"]])
        assert all(np.array_equal(frame, frames[0]) for frame in frames)
        assert not np.array_equal(row["context"], before["context"])
    assert not np.array_equal(changed[0]["context"], changed[1]["context"])
    assert np.array_equal(changed[1]["context"], changed[1]["context"])
