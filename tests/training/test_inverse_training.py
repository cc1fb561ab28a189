from pathlib import Path

import numpy as np
import pytest
import torch

from rlvr_world_hf.data import Episode, window_rows
from rlvr_world_hf.evaluation.predictions import predict_tokenizer_floor, row_batches
from rlvr_world_hf.rewards import ActionRecoveryReward, InverseDynamicsConfig, InverseDynamicsModel
from rlvr_world_hf.training import LikelihoodConfig
from rlvr_world_hf.training.inverse_training import (
    FramePairs,
    decoded_pairs,
    measure_inverse_model,
    train_inverse_model,
)
from tests.tiny import tiny_processor, tiny_rows, tiny_sensor_processor


def make(*, bins: int = 0) -> InverseDynamicsModel:
    config = InverseDynamicsConfig(action_low=[0.0], action_high=[13.0], image_size=16, width=8, action_bins=bins)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return InverseDynamicsModel(config)


def moving(count: int, seed: int) -> FramePairs:
    """Windows of three frames in which a square jumps to the column that is the action."""
    numbers = np.random.default_rng(seed)
    columns = numbers.integers(0, 14, (count, 3))
    frames = torch.zeros(count, 3, 3, 16, 16, dtype=torch.uint8)
    for row in range(count):
        for time in range(3):
            frames[row, time, :, 6:9, columns[row, time] : columns[row, time] + 3] = 255
    return FramePairs(frames, torch.from_numpy(columns[:, 1:, None]).float(), torch.ones(count, 2, dtype=torch.bool))


def test_pairs_are_what_the_reward_will_see() -> None:
    """The last given frame as recorded and the first decoded one, then decoded ones, with what leads to each."""
    processor, rows = tiny_processor(), tiny_rows(episodes=2, length=6, horizon=3)
    pairs = decoded_pairs(rows, processor, batch_size=3)
    (batch,) = row_batches(rows, size=len(rows))
    floor = predict_tokenizer_floor(batch, processor=processor).predicted[:, 0]
    kept = [(row, step) for row in range(len(rows)) for step in range(3) if batch.reference_mask[row, step]]
    assert len(pairs) == len(kept) < 3 * len(rows), "padding is left out"
    for (row, step), pair in zip(kept, (pairs[index] for index in range(len(pairs))), strict=True):
        before = batch.context[row, -1] if step == 0 else floor[row, step - 1]
        expected = torch.stack([before, floor[row, step]]).mul(255).round().to(torch.uint8)
        assert torch.equal(pair["frames"], expected)
        assert torch.equal(pair["labels"], batch.actions[row, step])
    assert torch.equal(pairs.labels, torch.stack([pairs[index]["labels"] for index in range(len(pairs))]))


def test_a_model_of_two_given_frames_sees_both_and_the_next() -> None:
    noise = np.random.default_rng(0)
    frames, actions = noise.integers(0, 256, (6, 3, 16, 16), dtype=np.uint8), np.zeros((6, 2), np.float32)
    episode = Episode(episode_id="0", frames=frames, actions=actions, fps=2.0)
    rows = window_rows([episode], observed_steps=1, horizon=3, padded=True)
    processor = tiny_processor(observed_steps=1)
    (batch,) = row_batches(rows, size=len(rows))
    ones, twos = (decoded_pairs(rows, processor, given_frames=given) for given in (1, 2))
    assert len(twos) == len(ones) and torch.equal(twos.labels, ones.labels)
    for index in range(len(ones)):
        assert torch.equal(twos[index]["frames"][1:], ones[index]["frames"])
        (row, step), first = ones.places[index].tolist(), twos[index]["frames"][0]
        before = batch.context[row, 0].mul(255).round().to(torch.uint8) if step == 0 else twos[index - 1]["frames"][1]
        assert torch.equal(first, before)
    with pytest.raises(ValueError, match="rows with 3 given frames.*got 2; raise"):
        decoded_pairs(rows, processor, given_frames=3)


def test_a_world_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="a processor that predicts sensors; give a world of frames"):
        decoded_pairs(tiny_rows(predicts=("sensors",)), tiny_sensor_processor())


def pushed(count: int, seed: int) -> FramePairs:
    """Windows of a square of some velocity, to which the action, -1 to 1, is added: two frames do not show it."""
    numbers = np.random.default_rng(seed)
    before, pushes = (numbers.integers(-1, 2, count) for _ in range(2))
    columns = np.stack([0 * before, before, 2 * before + pushes], axis=1) + numbers.integers(3, 11, (count, 1))
    frames = torch.zeros(count, 3, 3, 16, 16, dtype=torch.uint8)
    for row in range(count):
        for time in range(3):
            frames[row, time, :, 6:9, columns[row, time] : columns[row, time] + 3] = 255
    return FramePairs(frames, torch.from_numpy(pushes).float()[:, None, None], torch.ones(count, 1, dtype=torch.bool))


def test_a_push_is_read_from_two_given_frames_and_not_from_one(tmp_path: Path) -> None:
    errors = {}
    for given in (1, 2):
        train, test = pushed(1000, 0), pushed(300, 1)
        for pairs in (train, test):
            pairs.frames = pairs.frames[:, 2 - given :]
        ranges = {"action_low": [-1.0], "action_high": [1.0], "image_size": 16, "width": 8, "hidden_size": 32}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = InverseDynamicsModel(InverseDynamicsConfig(**ranges, given_frames=given))
        args = LikelihoodConfig(max_steps=200, eval_steps=200, batch_size=64, warmup_steps=10, learning_rate=3e-3)
        train_inverse_model(model, train, test, output_dir=tmp_path / str(given), args=args)
        errors[given] = measure_inverse_model(model, test)["error"]
    assert errors[2] < 0.2 < 0.3 < errors[1], "from one 0.44 at best, as half of what is seen is velocity"


@pytest.mark.parametrize("bins", [0, 14])
def test_it_learns_to_read_better_than_a_guess(tmp_path: Path, bins: int) -> None:
    model = make(bins=bins)
    args = LikelihoodConfig(
        max_steps=120, eval_steps=60, batch_size=64, learning_rate=3e-3, warmup_steps=10,
        training_arguments={"lr_scheduler_type": "cosine"},
    )  # fmt: skip
    train_inverse_model(model, moving(256, 0), moving(32, 1), output_dir=tmp_path, args=args)
    measured = measure_inverse_model(model, moving(64, 2))
    assert measured["pairs"] == 128 and len(measured["errors"]) == 1
    assert measured["error"] < 0.5 * measured["guess_error"]
    assert not model.training
    if bins:
        assert measured["log_probability"] > -np.log(bins)


def test_one_that_was_cut_off_ends_as_one_that_was_not(tmp_path: Path) -> None:
    args = {"eval_steps": 4, "batch_size": 16, "learning_rate": 3e-3, "warmup_steps": 0}
    whole, cut = make(), make()
    train_inverse_model(
        whole, moving(32, 0), moving(8, 1), output_dir=tmp_path / "whole", args=LikelihoodConfig(max_steps=8, **args)
    )
    for steps in (4, 8):
        train_inverse_model(
            cut,
            moving(32, 0),
            moving(8, 1),
            output_dir=tmp_path / "cut",
            args=LikelihoodConfig(max_steps=steps, **args),
        )
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(cut.state_dict()[name], value, atol=1e-6, rtol=1e-5)


def test_the_reward_reads_what_was_measured() -> None:
    """On pairs of one window, the reward is minus the error that the measure tells."""
    model, pairs = make().eval(), moving(6, 0)
    frames = pairs.frames.float() / 255
    rewards = ActionRecoveryReward(model)(
        predicted=list(frames[:, 1:]),
        reference=list(frames[:, 1:]),
        context=list(frames[:, :1]),
        actions=list(pairs.actions),
    )
    assert -np.mean(rewards) == pytest.approx(measure_inverse_model(model, pairs)["error"], rel=1e-5)
