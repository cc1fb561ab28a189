"""The update against numbers recorded from the official code: advantages, clipped loss, KL, and their gradients."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.training.advantages import group_advantages
from rlvr_world_hf.training.grpo_trainer import WorldModelGRPOTrainer
from tests.training.world import small_trainer


GROUPED = ("binary_n5", "binary_degenerate", "task_specific_n5", "video_n16", "tiny_spread")
POLICIES = ("onpolicy", "small", "large", "huge", "asym", "one_token", "c10")
CLAMPED = ("huge", "c10")  # the official code clamps the KL of a token at 10, TRL does not
AGGREGATIONS = {"bnpo": "token-mean", "luspo": "seq-mean-token-sum", "grpo": "seq-mean-token-mean"}


@pytest.fixture(scope="module")
def numbers(recorded_numbers: Path) -> Any:
    return np.load(recorded_numbers / "grpo.npz")


@pytest.fixture(scope="module")
def clips(recorded_numbers: Path) -> dict[str, dict[str, float]]:
    return json.loads((recorded_numbers / "grpo_meta.json").read_text())


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> WorldModelGRPOTrainer:
    trainer = small_trainer(tmp_path_factory.mktemp("run"))
    trainer.current_gradient_accumulation_steps = 1
    return trainer


@pytest.mark.parametrize("case", GROUPED)
def test_advantages(numbers: Any, case: str) -> None:
    rewards, mask, group, expected = (
        torch.from_numpy(numbers[f"adv_{case}_{name}"]) for name in ("token_rewards", "mask", "group", "advantages")
    )
    order = group.argsort(stable=True)
    size = int((group == group[0]).sum())
    advantages = torch.empty(len(group))
    advantages[order] = group_advantages(rewards.sum(1)[order], size)
    tolerance = 0.01 if case == "tiny_spread" else 1e-5  # the former lives on float32's rounding
    torch.testing.assert_close(advantages[:, None] * mask, expected, atol=tolerance, rtol=tolerance)


def loss_of(trainer: Any, new: torch.Tensor, **of_batch: torch.Tensor) -> torch.Tensor:
    """Of the trainer, where the policy's log-probabilities are given."""
    trainer._get_per_token_logps_and_entropies = lambda *args, **kwargs: (new, torch.zeros_like(new), None)
    ids = torch.zeros_like(new, dtype=torch.long)
    batch = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": torch.ones_like(ids[:, :1]),
        "completion_ids": ids,
        "completion_mask": torch.ones_like(ids),
        "tool_mask": of_batch["mask"].long(),
        "advantages": of_batch["adv"],
        "old_per_token_logps": of_batch["old"],
        "ref_per_token_logps": of_batch["ref"],
    }
    trainer.model.train()
    return trainer._compute_loss(trainer.model, batch)


def loss_and_gradient(trainer: Any, numbers: Any, case: str, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    parts = {name: torch.from_numpy(numbers[f"pol_{case}_{name}"]) for name in ("old", "new", "ref", "adv", "mask")}
    new = parts.pop("new").requires_grad_()
    for name, value in settings.items():
        setattr(trainer, name, value)
    loss = loss_of(trainer, new, **parts)
    loss.backward()
    return loss.detach(), new.grad


@pytest.mark.parametrize("loss_type", AGGREGATIONS)
@pytest.mark.parametrize("case", POLICIES)
def test_clipped_loss(trainer: Any, numbers: Any, clips: Any, case: str, loss_type: str) -> None:
    clip = clips[f"pol_{case}"]
    trainer.args.delta = clip["dual_clip_c"]
    loss, gradient = loss_and_gradient(
        trainer, numbers, case, loss_type=loss_type, beta=0.0, epsilon_low=clip["clip_low"],
        epsilon_high=clip["clip_high"],
    )  # fmt: skip
    expected = f"pol_{case}_video_{AGGREGATIONS[loss_type]}"
    torch.testing.assert_close(loss, torch.tensor(numbers[f"{expected}_loss"]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, torch.from_numpy(numbers[f"{expected}_grad"]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", [case for case in POLICIES if case not in CLAMPED])
def test_loss_with_kl(trainer: Any, numbers: Any, clips: Any, case: str) -> None:
    clip = clips[f"pol_{case}"]
    trainer.args.delta = clip["dual_clip_c"]
    loss, gradient = loss_and_gradient(
        trainer, numbers, case, loss_type="bnpo", beta=1e-3, epsilon_low=clip["clip_low"],
        epsilon_high=clip["clip_high"],
    )  # fmt: skip
    torch.testing.assert_close(loss, torch.tensor(numbers[f"pol_{case}_total_kl1e-3"]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        gradient, torch.from_numpy(numbers[f"pol_{case}_total_kl1e-3_grad"]), atol=1e-5, rtol=1e-5
    )


def test_micro_batches_count_alike(trainer: Any, numbers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"loss_type": "bnpo", "beta": 1e-3, "epsilon_low": 0.2, "epsilon_high": 0.2}
    for name, value in (settings | {"current_gradient_accumulation_steps": 4}).items():
        monkeypatch.setattr(trainer, name, value)
    monkeypatch.setattr(trainer.args, "delta", 3.0)
    logits = torch.from_numpy(numbers["accum_logits"]).requires_grad_()
    labels, *parts = (torch.from_numpy(numbers[f"accum_{name}"]) for name in ("labels", "old", "ref", "adv", "mask"))
    losses = []
    for rows in torch.arange(len(logits)).split(2):
        new = logits[rows].log_softmax(dim=-1).gather(-1, labels[rows, :, None]).squeeze(-1)
        batch = dict(zip(("old", "ref", "adv", "mask"), (part[rows] for part in parts), strict=True))
        losses.append(loss_of(trainer, new, **batch))
        losses[-1].backward()
    expected = torch.from_numpy(numbers["accum_video_parts"])[:, 3]
    torch.testing.assert_close(torch.stack(losses).detach(), expected, atol=1e-5, rtol=1e-5)
    gradient = torch.from_numpy(numbers["accum_video_logit_grad"])
    torch.testing.assert_close(logits.grad, gradient, atol=1e-5, rtol=1e-5)
