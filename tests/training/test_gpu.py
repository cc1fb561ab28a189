"""On a CUDA device trainers do what they do on the CPU, with everything on the device."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr_world_hf.hub.checkpoint import load_world_model, save_world_model
from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.rewards.perceptual import LPIPSReward
from rlvr_world_hf.rewards.pixel import MAEReward
from rlvr_world_hf.rollouts.head import RangeHead
from rlvr_world_hf.training.pretraining import LikelihoodConfig, pretrain, tokenize_rows
from tests.training.test_tokenizer_training import make_codec, train
from tests.training.world import HORIZON, parameters, small_policy, small_processor, small_rows, small_trainer


pytestmark = pytest.mark.gpu

DEVICE = "cuda"


class Where(MAEReward):
    """The mean absolute error, which notes where it was measured."""

    def measure(self, predicted: torch.Tensor, reference: torch.Tensor, **further: Any) -> torch.Tensor:
        self.devices = {predicted.device.type, reference.device.type}
        return super().measure(predicted, reference, **further)


@pytest.mark.parametrize("changes", [{}, {"bf16": True}, {"credit": "reward_to_go", "likelihood_weight": 0.1}])
def test_a_checkpoint_loaded_on_the_cpu_is_trained_on_the_device(tmp_path: Path, changes: dict[str, Any]) -> None:
    processor = small_processor()
    save_world_model(tmp_path / "world", small_policy(processor), processor)
    model, processor = load_world_model(tmp_path / "world")
    reward = Where()
    trainer = small_trainer(tmp_path, model=model, processor=processor, rewards=reward, max_steps=2, **changes)
    before = parameters(trainer.model).clone()
    trainer.train()
    places = {trainer.model.device, trainer.ref_model.device, processor.codec.device}
    assert {place.type for place in places} | reward.devices == {DEVICE}
    assert trainer.model.config._attn_implementation == "sdpa_with_shared_prompts"
    after = parameters(trainer.model)
    assert after.isfinite().all() and not torch.equal(before, after)


def test_a_policy_learns_on_the_device_what_it_learns_on_the_cpu(tmp_path: Path) -> None:
    results = []
    for use_cpu in (True, False):
        # Plain descent: Adam would make whole steps of rounding errors.
        how = {"optim": "sgd", "learning_rate": 0.5, "max_steps": 4, "save_strategy": "no", "bf16": False}
        trainer = small_trainer(tmp_path, model=small_policy(small_processor()), use_cpu=use_cpu, **how)
        trainer.train()
        results.append(parameters(trainer.model).cpu())
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("restricted", [True, False])
def test_likelihood_falls_on_the_device_as_on_the_cpu(tmp_path: Path, restricted: bool) -> None:
    losses = []
    for use_cpu in (True, False):
        processor = small_processor()
        tokens = tokenize_rows(small_rows(processor), processor)
        args = LikelihoodConfig(
            max_steps=8,
            eval_steps=4,
            batch_size=8,
            warmup_steps=0,
            training_arguments={"use_cpu": use_cpu, "optim": "sgd"},
        )
        head = RangeHead.of(processor, HORIZON) if restricted else None
        folder = tmp_path / str(use_cpu)
        result = pretrain(small_policy(processor), tokens, tokens, output_dir=folder, args=args, range_head=head)
        losses.append([entry["eval_loss"] for entry in result.history if "eval_loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_tokenizer_is_trained_on_the_device(tmp_path: Path) -> None:
    codec, history = train(tmp_path, make_codec().to(DEVICE), max_steps=60, save_steps=20, learning_rate=3e-3)
    assert codec.device.type == DEVICE and history[-1]["mae_context"] < history[0]["mae_context"]


@pytest.mark.parametrize("reward", [MAEReward(), LPIPSReward(trunk="random")], ids=lambda reward: reward.name)
def test_rewards_are_on_the_device_what_they_are_on_the_cpu(reward: Any) -> None:
    numbers = torch.Generator().manual_seed(0)
    predicted = torch.rand(2, 3, 2, 3, 64, 64, generator=numbers)
    reference = torch.randint(0, 256, (2, 2, 3, 64, 64), generator=numbers, dtype=torch.uint8)
    here = reward.score_groups(predicted, reference)
    there = reward.score_groups(predicted.to(DEVICE), reference)
    assert there.steps.device.type == DEVICE
    torch.testing.assert_close(there.steps.cpu(), here.steps, atol=1e-4, rtol=1e-3)


def test_predictions_are_on_the_device_what_they_are_on_the_cpu() -> None:
    processor = small_processor()
    row = small_rows(processor, count=1)[0]
    found = []
    for device in ("cpu", DEVICE):
        pipeline = WorldModelPipeline(small_policy(processor).eval().to(device), processor.to(device))
        found.append(pipeline(row["context"], row["actions"], temperature=0.0).cpu())
    torch.testing.assert_close(*found, atol=1e-3, rtol=0)
