"""Clips are read as they are drawn, whoever reads them."""

import os
import signal
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr_world_hf.data import ClipAugmentation, load_episodes, save_episodes
from rlvr_world_hf.training.clips import ClipBatches, EpisodeFrames, load_clips, sample_clips
from tests.training.test_tokenizer_training import EPISODES, make_episodes


HOW: dict[str, Any] = {"batch_size": 6, "context_frames": 2, "later_frames": 3, "horizon": 4}


def test_clips_are_frames_of_one_episode_within_the_horizon() -> None:
    times = torch.arange(9, dtype=torch.uint8).view(1, 9, 1, 1, 1)
    frames = (times + 100 * torch.arange(2, dtype=torch.uint8).view(2, 1, 1, 1, 1)).expand(-1, -1, 3, 2, 2)
    for step in range(20):
        context, later = (
            (clip * 255).round().long()[:, :, 0, 0, 0]
            for clip in sample_clips(frames, batch_size=8, context_frames=2, later_frames=3, horizon=4, seed=[0, step])
        )
        assert torch.equal(context[:, 1], context[:, 0] + 1)
        distance = later - context[:, 1:]
        assert distance.min() >= 1 and distance.max() <= 4
        assert all(len(row.unique()) == 3 for row in later)
    again = sample_clips(frames, batch_size=8, context_frames=2, later_frames=3, horizon=4, seed=[0, 19])
    assert torch.equal((again[1] * 255).round().long()[:, :, 0, 0, 0], later)


def test_clips_of_stored_episodes_are_those_of_episodes_in_memory(tmp_path: Path) -> None:
    stored = save_episodes(EPISODES, tmp_path)
    for augmentation in (None, ClipAugmentation()):
        how = HOW | {"seed": [3, 1], "augmentation": augmentation}
        inside, outside = (sample_clips(EpisodeFrames(episodes), **how) for episodes in (EPISODES, stored))
        assert all(map(torch.equal, inside, outside))


def test_of_a_long_episode_only_the_frames_of_a_clip_are_read(tmp_path: Path) -> None:
    frames = EpisodeFrames(save_episodes(make_episodes(2, seed=0, size=64, length=400), tmp_path))
    whole = frames[0].nbytes
    tracemalloc.start()
    try:
        sample_clips(frames, batch_size=4, context_frames=1, later_frames=1, horizon=4, seed=[0])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < whole / 5, "8 of 400 frames, as bytes and as floats"


def test_several_processes_read_the_same_in_order(tmp_path: Path) -> None:
    save_episodes(EPISODES, tmp_path)
    batches = ClipBatches(EpisodeFrames(load_episodes(tmp_path)), seed=5, **HOW)
    steps = range(7, 12)
    expected = [sample_clips(EpisodeFrames(EPISODES), seed=[5, step], **HOW) for step in steps]
    for workers in (0, 2):
        found = [*load_clips(batches, steps, workers=workers)]
        assert len(found) == len(expected)
        assert all(
            torch.equal(*pair) for one, two in zip(found, expected, strict=True) for pair in zip(one, two, strict=True)
        )


def test_ctrl_c_which_a_terminal_sends_to_all_stops_no_process_that_reads() -> None:
    read: Any = iter(load_clips(ClipBatches(EpisodeFrames(EPISODES), seed=5, **HOW), range(8), workers=1))
    found = [next(read)]
    for worker in read._workers:
        os.kill(worker.pid, signal.SIGINT)
    assert len([*found, *read]) == 8


def test_episodes_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one frame size, got .*; resize their frames"):
        EpisodeFrames([*EPISODES, *make_episodes(1, seed=0, size=20)])
    with pytest.raises(ValueError, match="got none"):
        EpisodeFrames([])
