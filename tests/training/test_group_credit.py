from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr_world_hf.rewards import EnergyScoreReward, MAEReward
from rlvr_world_hf.training import group_credit
from rlvr_world_hf.training.group_credit import LEAVES_CREDIT, refuse_bent_credit, whole_groups
from rlvr_world_hf.training.grouped_rows import GroupedRows
from rlvr_world_hf.training.grpo_config import WorldModelGRPOConfig
from tests.training.world import small_processor, small_trainer


UNBENT = {"scale_rewards": "none", "num_generations": 4, "per_device_train_batch_size": 4}


def settings(folder: Path, **changes: Any) -> WorldModelGRPOConfig:
    return WorldModelGRPOConfig(str(folder), **(UNBENT | changes))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale_rewards", "group"),
        ("scale_rewards", "batch"),
        ("multi_objective_aggregation", "normalize_then_sum"),
        ("credit", "reward_to_go"),
        ("temperature", 0.7),
        ("top_k", 20),
        ("top_p", 0.9),
        ("min_p", 0.1),
        ("repetition_penalty", 1.2),
        ("num_generations", 2),
    ],
)
def test_settings_that_bend_a_credit_are_refused_by_name(tmp_path: Path, name: str, value: Any) -> None:
    args = settings(tmp_path, **{name: value})
    refuse_bent_credit(args, [MAEReward()])
    with pytest.raises(ValueError, match=rf"`energy_score` .*`{name}.*got {value!r}; .*leave the reward out"):
        args.refuse_for_world(
            [MAEReward(), EnergyScoreReward()], fixed_length=name not in ("min_p", "repetition_penalty")
        )


def test_groups_of_an_evaluation_must_be_as_large(tmp_path: Path) -> None:
    args = settings(tmp_path, eval_strategy="steps", eval_steps=2, num_generations_eval=1)
    args.refuse_for_world(MAEReward(), fixed_length=True)
    with pytest.raises(ValueError, match="`num_generations_eval` of at least 3, got 1; raise it, or leave"):
        args.refuse_for_world([MAEReward(), EnergyScoreReward()], fixed_length=True)
    settings(tmp_path, eval_strategy="steps", eval_steps=2, num_generations_eval=4).refuse_for_world(
        EnergyScoreReward(), fixed_length=True
    )


def test_one_that_leaves_it_as_it_is_goes_through(tmp_path: Path) -> None:
    args = settings(tmp_path)
    args.refuse_for_world(EnergyScoreReward(), fixed_length=True)
    assert {name: getattr(args, name) for name in LEAVES_CREDIT} == {
        name: value for name, (value, _) in LEAVES_CREDIT.items()
    }


def test_what_other_settings_do_can_be_measured_if_one_says_so(tmp_path: Path) -> None:
    args = settings(tmp_path, scale_rewards="group", temperature=0.5)
    args.refuse_for_world(EnergyScoreReward(unbiased=False), fixed_length=True)
    with pytest.raises(ValueError, match="`num_generations` of at least 3, got 2"):
        settings(tmp_path, num_generations=2).refuse_for_world(EnergyScoreReward(unbiased=False), fixed_length=True)


def test_processes_must_hold_whole_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = GroupedRows.of([{}] * 6, group_size=4, process=0)
    assert groups.ids == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]
    monkeypatch.setattr(group_credit, "gather_object", lambda own: own)
    with pytest.raises(RuntimeError, match=r"whole groups of 4 completions, each once, got .*\(1, 1\)\]; give every"):
        whole_groups({"predicted": list(range(6))}, groups)
    monkeypatch.setattr(group_credit, "gather_object", lambda own: own + own)
    with pytest.raises(RuntimeError, match="each once"):
        whole_groups({"predicted": list(range(6))}, groups)


class Watched(EnergyScoreReward):
    """Remembers the sizes of the groups that it measured, and what their rewards were."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def measure_groups(self, predicted: Any, reference: Any, *, context: Any = None, **further: Any) -> torch.Tensor:
        self.sizes += [predicted.shape[1]] * len(predicted)
        return super().measure_groups(predicted, reference, context=context)


def test_micro_batches_that_split_a_group_leave_its_credit_whole(tmp_path: Path) -> None:
    """The updates are those of one micro-batch with whole groups in it."""
    moved = []
    for rows, accumulated in ((16, 1), (2, 8)):
        reward = Watched()
        trainer = small_trainer(
            tmp_path / str(rows),
            processor=small_processor(),
            rewards=reward,
            scale_rewards="none",
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=accumulated,
            optim="sgd",
            save_strategy="no",
            max_steps=2,
        )
        trainer.train()
        assert set(reward.sizes) == {4}, "never a part of a group"
        logged = [entry["rewards/energy_score/mean"] for entry in trainer.state.log_history if "reward" in entry]
        assert all(value < 0 for value in logged), "the mean of a group is minus its energy score"
        moved.append(torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]))
    torch.testing.assert_close(moved[0], moved[1], atol=1e-5, rtol=1e-3)
