import json
from pathlib import Path

import pytest
import torch

from rlvr_world_hf.training import grpo_config
from rlvr_world_hf.training.grpo_config import WorldModelGRPOConfig
from tests.training.world import settings


def test_defaults_are_the_papers(recorded_numbers: Path, tmp_path: Path) -> None:
    official = json.loads((recorded_numbers / "official_hparams.json").read_text())["video_multi_step"]
    config = WorldModelGRPOConfig(str(tmp_path))
    assert config.learning_rate == official["lr"]
    assert config.num_generations == official["group_n"]
    assert config.beta == official["kl_in_loss_coef"]
    assert config.epsilon == official["clip"]
    assert config.delta == official["dual_clip"]
    assert config.max_grad_norm == official["grad_clip"]
    assert config.temperature == official["temperature"]
    assert config.updates_per_generation == official["train_batch_prompts"] // official["mini_batch_prompts"]
    assert config.entropy_coef == official["entropy_coef"]
    assert (config.weight_decay, config.lr_scheduler_type, config.advantage_epsilon) == (0.01, "constant", 1e-6)
    assert not config.use_bias_correction_kl


@pytest.mark.parametrize(("accumulation", "iterations"), [(1, 1), (2, 1), (1, 3)])
def test_checkpoints_lie_between_batches_of_rollouts(tmp_path: Path, accumulation: int, iterations: int) -> None:
    config = settings(
        tmp_path, gradient_accumulation_steps=accumulation, num_iterations=iterations, save_steps=7, max_steps=50
    )
    assert config.steps_per_generation == 2 * accumulation
    assert config.checkpoint_interval == 2 * iterations
    assert config.save_steps == {1: 8, 3: 12}[iterations]


def test_save_steps_may_be_a_share(tmp_path: Path) -> None:
    assert settings(tmp_path, save_steps=0.5, max_steps=10).save_steps == 6
    with pytest.raises(ValueError, match="max_steps"):
        settings(tmp_path, save_steps=0.5, max_steps=-1)


def test_the_hosts_batch_size_is_kept(tmp_path: Path) -> None:
    config = settings(tmp_path, generation_batch_size=48)
    assert (config.steps_per_generation, config.updates_per_generation) == (3, 3)


@pytest.mark.parametrize(
    "changes", [{"use_vllm": True}, {"mask_truncated_completions": True}, {"repetition_penalty": 1.2}]
)
def test_what_has_no_meaning_is_refused(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(changes))}.*leave it at"):
        settings(tmp_path, **changes).refuse_what_has_no_meaning()


def test_settings_survive_json(tmp_path: Path) -> None:
    config = settings(tmp_path)
    fields = {name: value for name, value in config.to_dict().items() if name in ("beta", "delta", "save_steps")}
    assert json.loads(json.dumps(fields)) == {"beta": 1e-3, "delta": 3.0, "save_steps": 2}


@pytest.mark.parametrize("strategy", ["checkpoint", "all_checkpoints"])
def test_the_state_of_the_optimizer_does_not_go_to_the_hub(strategy, tmp_path):
    with pytest.raises(ValueError, match=f"hub_strategy='{strategy}'.*pickled.*'end' or 'every_save'"):
        WorldModelGRPOConfig(str(tmp_path), push_to_hub=True, hub_strategy=strategy)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"credit": "step"}, "'completion' or 'reward_to_go', got 'step'"),
        ({"credit": "reward_to_go", "multi_objective_aggregation": "normalize_then_sum"}, "normalize_then_sum"),
        ({"credit": "reward_to_go", "credit_discount": 0.0}, "above 0 and at most 1.*got 0.0"),
        ({"credit_discount": 0.5}, "credit='reward_to_go'.*got 0.5 with credit='completion'"),
        ({"credit_baseline": "last_step"}, "one of group with credit='completion', got 'last_step'"),
        ({"likelihood_weight": -0.1}, "`likelihood_weight` of at least 0, got -0.1"),
        ({"credit": "reward_to_go", "credit_baseline": "step"}, "one of group, last_step.*got 'step'"),
    ],
)
def test_credit_that_means_nothing_is_refused(tmp_path: Path, changes: dict, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        settings(tmp_path, **changes)


def test_the_best_checkpoint_is_one_that_was_saved(tmp_path: Path) -> None:
    changes = {"load_best_model_at_end": True, "eval_strategy": "steps", "metric_for_best_model": "eval_reward"}
    args = settings(tmp_path, updates_per_generation=4, save_steps=6, eval_steps=6, **changes)
    assert args.save_steps == 8 and args.eval_steps == 8
    args = settings(tmp_path, updates_per_generation=4, save_steps=6, eval_steps=2, **changes)
    assert args.save_steps == 8 and args.eval_steps == 2
    with pytest.raises(ValueError, match="`save_total_limit` of at least 2 .*got 1; raise it"):
        settings(tmp_path, updates_per_generation=4, save_steps=6, eval_steps=6, save_total_limit=1, **changes)


@pytest.mark.parametrize(("capability", "emulated", "expected"), [((8, 0), True, True), ((7, 5), True, False)])
def test_a_gpu_that_emulates_bfloat16_computes_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], emulated: bool, expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: capability >= (8, 0) or (including_emulation and emulated),
    )
    assert grpo_config.computes_in_bfloat16() is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"bf16": True}, torch.bfloat16), ({"bf16": False}, None), ({"fp16": True}, torch.float16)],
)
def test_completions_are_sampled_in_the_precision_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, bool], expected: torch.dtype | None
) -> None:
    args = settings(tmp_path)
    for name in ("bf16", "fp16"):
        setattr(args, name, changes.get(name, False))
    assert args.autocast_dtype is expected
