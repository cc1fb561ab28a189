"""Training by gradients through rewards, on a tiny world of a codec and an inverse model of random weights."""

import shutil

import numpy as np
import pytest
import torch

from rlvr_world_hf.data import Episode, window_rows
from rlvr_world_hf.rewards import ActionRecoveryReward, EnergyScoreReward, MAEReward, SensorMAEReward
from rlvr_world_hf.rewards.inverse_dynamics import InverseDynamicsConfig, InverseDynamicsModel
from rlvr_world_hf.rollouts import rollout
from rlvr_world_hf.rollouts.relaxed import Relaxation
from rlvr_world_hf.training import LikelihoodConfig
from rlvr_world_hf.training.schedule import Schedule
from rlvr_world_hf.training.straight_through import refuse_without_gradient, train_straight_through
from tests.tiny import tiny_model, tiny_processor


def striking_processor():
    """Of a codec whose codes look different, as those of a trained one do."""
    processor = tiny_processor()
    processor.codec.dynamics_decoder.conv_out.weight.data.mul_(5)
    return processor


@pytest.fixture(scope="module")
@torch.no_grad()
def inverse():
    """An inverse model of random weights that reads from pairs of codes actions about 77 around the middle."""
    processor = striking_processor()
    torch.manual_seed(0)
    ranges = {"action_low": [0.0] * 2, "action_high": [512.0] * 2}
    config = InverseDynamicsConfig(image_size=16, width=8, hidden_size=8, **ranges)
    model = InverseDynamicsModel(config).eval().requires_grad_(False)
    for module in model.modules():  # not the small weights that transformers draws
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    shown = processor.codec.decode(torch.randint(1000, (64, 2, 4)), context_frames=torch.full((64, 1, 3, 16, 16), 0.5))
    raw = model(shown).actions / 256 - 1
    last = model.head[-1]
    last.weight.mul_((0.3 / raw.std(dim=0))[:, None])
    last.bias.sub_(raw.mean(dim=0)).mul_(0.3 / raw.std(dim=0))
    return model


@pytest.fixture(scope="module")
def rows():
    frames, actions = np.full((6, 3, 16, 16), 128, np.uint8), np.full((6, 2), 330.0, np.float32)
    return window_rows([Episode(episode_id="0", frames=frames, actions=actions, fps=2.0)], horizon=2, padded=True)


def train(rows, rewards, folder, *, steps, relaxation=None, **further):
    processor = striking_processor()
    model = tiny_model(processor)
    schedule = {"schedule": Schedule(kind="linear")}
    args = LikelihoodConfig(max_steps=steps, eval_steps=5, batch_size=16, learning_rate=1e-2, **schedule, **further)
    how = {"output_dir": folder, "args": args, "relaxation": relaxation}
    result = train_straight_through(model, processor, rewards, rows, rows, **how)
    return model, processor, result


def test_it_lowers_the_error_of_recovered_actions_and_changes_the_policy_alone(rows, inverse, tmp_path):
    reward = ActionRecoveryReward(inverse)
    before = {name: value.clone() for name, value in inverse.state_dict().items()}
    codec = {name: value.clone() for name, value in striking_processor().codec.state_dict().items()}
    model, processor, result = train(
        rows.select([0] * 32), [reward], tmp_path, steps=30, relaxation=Relaxation(kind="softmax")
    )
    losses = [entry["eval_loss"] for entry in result.history if "eval_loss" in entry]

    def sampled_error(policy):
        row = {name: torch.as_tensor(np.asarray(rows[0][name]))[None] for name in ("context", "actions", "reference")}
        prompt = {name: row[name] for name in ("context", "actions")}
        found = rollout(policy, processor, seeds=[0], num_samples=64, horizon=2, **prompt).predicted
        given = {name: row[name].expand(64, *row[name].shape[1:]) for name in row}
        return reward.metric(found, given["reference"], context=given["context"], actions=given["actions"]).mean()

    assert sampled_error(model) < 0.9 * sampled_error(tiny_model(processor))
    assert result.best_checkpoint.endswith(f"-{5 * (1 + losses.index(min(losses)))}")
    for module, known in ((inverse, before), (processor.codec, codec)):
        assert all(torch.equal(value, known[name]) for name, value in module.state_dict().items())
        assert all(parameter.grad is None for parameter in module.parameters())


def test_an_interrupted_training_makes_the_weights_of_one_that_was_not(rows, inverse, tmp_path):
    rewards = [ActionRecoveryReward(inverse), MAEReward(pixels="moving")]
    whole, _, _ = train(rows, rewards, tmp_path / "whole", steps=10)
    shutil.copytree(tmp_path / "whole", tmp_path / "half", ignore=shutil.ignore_patterns("checkpoint-10"))
    resumed, _, result = train(rows, rewards, tmp_path / "half", steps=10)
    assert result.last_checkpoint.endswith("checkpoint-10")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
        assert value.isfinite().all()


@pytest.mark.parametrize(
    ("rewards", "predicts", "told"),
    [
        ([MAEReward()], ("sensors",), "a world of frames, whose codec lets gradients through, got one of sensors"),
        ([MAEReward()], ("text",), "got one of text"),
        ([], ("frames",), "such as ActionRecoveryReward with an inverse model, got none; .* trains an inverse model"),
        ([MAEReward(), EnergyScoreReward()], ("frames",), "got EnergyScoreReward; leave these to RL"),
        ([SensorMAEReward()], ("frames", "sensors"), "got SensorMAEReward"),
        ([lambda completions: [0.0]], ("frames",), "got function"),
    ],
)
def test_what_has_no_gradient_is_refused(rewards, predicts, told):
    with pytest.raises(ValueError, match=told):
        refuse_without_gradient(rewards, predicts=predicts)
