import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from peft import LoraConfig
from trl import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from rlvr_world_hf.hub.cards import NOT_EVALUATED
from rlvr_world_hf.hub.checkpoint import load_world_model
from rlvr_world_hf.hub.training_checkpoints import last_checkpoint
from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.processors.base import state_columns
from rlvr_world_hf.rewards.pixel import MAEReward
from rlvr_world_hf.rewards.repetition import RepetitionReward
from rlvr_world_hf.rewards.sensor import SensorMSEReward
from rlvr_world_hf.rollouts import rollout
from rlvr_world_hf.training import grpo_config, grpo_trainer, policies
from rlvr_world_hf.training.grouped_rows import GroupedRows
from rlvr_world_hf.training.grpo_trainer import WorldModelGRPOTrainer
from tests.local_hub import USER, LocalHub
from tests.training.world import (
    HORIZON,
    joint_processor,
    parameters,
    sensor_processor,
    single_step_processor,
    small_policy,
    small_processor,
    small_rows,
    small_trainer,
)


class Recorder:
    """A reward that keeps what it was given and returns the same for all."""

    __name__ = "recorder"

    def __init__(self, value: float | None = 1.0) -> None:
        self.calls: list[dict[str, Any]] = []
        self.value = value

    def __call__(self, **columns: Any) -> list[float | None]:
        self.calls.append(columns)
        return [self.value] * len(columns["predicted"])


def rewards_of(trainer: WorldModelGRPOTrainer) -> list[float]:
    return [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]


@pytest.mark.parametrize(
    ("make_processor", "horizon", "rewards", "credit"),
    [
        (small_processor, HORIZON, [MAEReward()], "completion"),
        (single_step_processor, 1, [MAEReward()], "completion"),
        (sensor_processor, HORIZON, [SensorMSEReward()], "completion"),
        (joint_processor, HORIZON, [MAEReward(), SensorMSEReward()], "reward_to_go"),
    ],
    ids=["multi-step", "single-step", "sensors", "video and sensors"],
)
def test_reward_rises_and_the_checkpoint_reloads(
    tmp_path: Path, make_processor: Callable[[], Any], horizon: int, rewards: list[Any], credit: str
) -> None:
    from transformers import AutoModelForCausalLM

    world = {"processor": make_processor(), "horizon": horizon, "rewards": rewards, "credit": credit}
    trainer = small_trainer(tmp_path, **world, max_steps=24, save_strategy="no", learning_rate=5e-3)
    before = parameters(trainer.model).clone()
    trainer.train()
    logged = rewards_of(trainer)
    assert sum(logged[-4:]) / 4 > sum(logged[:4]) / 4 * 0.7, "the error falls by 30 %"
    assert not torch.equal(before, parameters(trainer.model))

    trainer.save_model(str(tmp_path / "final"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "final")
    processor = type(world["processor"]).from_pretrained(tmp_path / "final")
    row = small_rows(processor, horizon=horizon)[0]
    given = {name: torch.tensor(row[name])[None] for name in processor.prompt_columns}
    saved = rollout(trainer.model, trainer.processor, **given, horizon=horizon, num_samples=3, seeds=[5])
    loaded = rollout(model, processor, **given, horizon=horizon, num_samples=3, seeds=[5])
    assert torch.equal(saved.completion_ids, loaded.completion_ids)
    columns = state_columns(loaded.predicted)
    for name, states in state_columns(saved.predicted).items():
        assert torch.equal(states, columns[name])


def test_rewards_get_predicted_and_reference_states(tmp_path: Path) -> None:
    recorder = Recorder()
    trainer = small_trainer(tmp_path, rewards=recorder, max_steps=2, save_strategy="no")
    counted = {"encode": 0, "decode": 0}

    def count(name: str, key: str) -> None:
        call = getattr(trainer.processor, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            counted[key] += len(args[0])
            return call(*args, **kwargs)

        setattr(trainer.processor, name, counting)

    count("encode_prompt", "encode")
    count("decode_state", "decode")
    trainer.train()
    (columns,) = recorder.calls
    assert counted == {"encode": 8, "decode": 32}, "a prompt is encoded once a group, a completion decoded once"
    assert len(columns["predicted"]) == len(columns["reference"]) == len(columns["reference_mask"]) == 32
    assert columns["predicted"][0].shape == columns["reference"][0].shape == (HORIZON, 3, 16, 16)
    assert columns["reference"][0].dtype == torch.uint8 and columns["predicted"][0].dtype == torch.float32
    assert columns["context"][0] is columns["context"][3], "a group shares its row"
    assert columns["context"][3] is not columns["context"][4]


def test_rewards_of_sensors_get_the_states_beside_the_frames(tmp_path: Path) -> None:
    recorder = Recorder()
    trainer = small_trainer(tmp_path, processor=joint_processor(), rewards=recorder, max_steps=2, save_strategy="no")
    trainer.train()
    (columns,) = recorder.calls
    assert len(columns["predicted_states"]) == len(columns["reference_states"]) == len(columns["predicted"]) == 32
    assert columns["predicted_states"][0].shape == columns["reference_states"][0].shape == (HORIZON, 3)
    assert columns["predicted"][0].shape == (HORIZON, 3, 16, 16)


@pytest.mark.parametrize("value", [1.0, None])
def test_equal_or_missing_rewards_give_no_advantage(tmp_path: Path, value: float | None) -> None:
    trainer = small_trainer(tmp_path, rewards=Recorder(value), max_steps=2, save_strategy="no", beta=0.0)
    before = parameters(trainer.model).clone()
    trainer.args.weight_decay = 0.0
    trainer.train()
    assert all(not batch["advantages"].any() for batch in trainer._buffered_inputs)
    assert torch.equal(before, parameters(trainer.model))


@pytest.mark.parametrize("restrict", [True, False])
def test_action_tokens_carry_no_loss(tmp_path: Path, restrict: bool) -> None:
    trainer = small_trainer(tmp_path, max_steps=2, save_strategy="no", restrict_log_probs=restrict)
    trainer.train()
    batch = trainer._buffered_inputs[0]
    written = trainer.processor.model_token_mask(HORIZON)
    assert torch.equal(batch["tool_mask"].bool(), written.expand(16, -1))

    forward = trainer._get_per_token_logps_and_entropies
    noise: dict[str, torch.Tensor] = {}

    def loss_with_noise_on(positions: torch.Tensor) -> torch.Tensor:
        def noisy(*args: Any, **kwargs: Any) -> Any:
            log_probs, entropies, _ = forward(*args, **kwargs)
            noise["it"] = torch.where(positions, 0.3, torch.zeros(len(positions))).requires_grad_()
            return log_probs + noise["it"], entropies, None

        trainer._get_per_token_logps_and_entropies = noisy
        trainer.current_gradient_accumulation_steps = 1
        return trainer._compute_loss(trainer.model, batch)

    quiet = loss_with_noise_on(torch.zeros_like(written))
    assert torch.equal(loss_with_noise_on(~written), quiet)
    loss_with_noise_on(~written).backward()
    assert not noise["it"].grad[~written].any() and noise["it"].grad[written].any()
    assert not torch.equal(loss_with_noise_on(written), quiet)


def test_first_ratio_is_one_and_the_reference_is_the_start(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, max_steps=2, save_strategy="no", logging_steps=1)
    start = parameters(trainer.model).clone()
    assert torch.equal(parameters(trainer.ref_model), start)
    assert not any(parameter.requires_grad for parameter in trainer.ref_model.parameters())
    trainer.train()
    assert torch.equal(parameters(trainer.ref_model), start) and not torch.equal(parameters(trainer.model), start)
    for batch in trainer._buffered_inputs:
        torch.testing.assert_close(batch["old_per_token_logps"], batch["ref_per_token_logps"])
    first, second = (entry["kl"] for entry in trainer.state.log_history if "kl" in entry)
    assert first == pytest.approx(0, abs=1e-7) and second > 0


ADAPTER = {"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({}, 1),  # that of the reference
        ({"temperature": 0.8, "top_k": 3}, 1),
        ({"peft_config": LoraConfig(**ADAPTER)}, 1),
        ({"peft_config": LoraConfig(**ADAPTER, lora_dropout=0.1), "disable_dropout": False}, 2),
        ({"bf16": True}, 2),
        ({"restrict_log_probs": False}, 2),
    ],
    ids=["plain", "temperature", "adapter", "dropout", "bf16", "all ids"],
)
def test_the_sampling_knows_the_log_probabilities_before_the_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], passes: int
) -> None:
    trainer = small_trainer(tmp_path, max_steps=2, save_strategy="no", **changes)
    without_gradient: list[torch.Tensor] = []
    usual = trainer._get_per_token_logps_and_entropies.__func__
    scored = grpo_trainer.completion_log_probs

    def counted(*args: Any, **kwargs: Any) -> Any:
        output = scored(*args, **kwargs)
        if not torch.is_grad_enabled():
            without_gradient.append(output[0])
        return output

    def both(*args: Any, **kwargs: Any) -> Any:
        """What is handed out, beside what the model itself would have given."""
        given = usual(trainer, *args, **kwargs)
        if trainer._sampled and not torch.is_grad_enabled():
            sampled, trainer._sampled = trainer._sampled, None
            own = usual(trainer, *args, **kwargs)[0]
            without_gradient.pop()
            torch.testing.assert_close(given[0], own, atol=1e-4, rtol=0)
            trainer._sampled = sampled
        return given

    monkeypatch.setattr(grpo_trainer, "completion_log_probs", counted)
    monkeypatch.setattr(trainer, "_get_per_token_logps_and_entropies", both)
    trainer.train()
    assert len(without_gradient) == passes


@pytest.mark.parametrize(
    "changes",
    [
        {"loss_type": "grpo"},
        {"loss_type": "dr_grpo"},
        {"loss_type": "dapo"},
        {"loss_type": "cispo"},
        {"loss_type": "luspo", "importance_sampling_level": "sequence"},
        {"loss_type": "sapo"},
        {"loss_type": "vespo"},
        {"num_iterations": 2},
        {"gradient_accumulation_steps": 2},
        {"updates_per_generation": 1},
        {"activation_checkpointing": True},
        {"sync_ref_model": True, "ref_model_sync_steps": 1},
        {"beta": 0.0},
        {"restrict_log_probs": False},
        {"scale_rewards": "batch"},
        {"multi_objective_aggregation": "normalize_then_sum"},
        {"entropy_coef": 0.01, "top_entropy_quantile": 0.5},
        {"bf16": True},
        {"temperature": 0.8, "top_k": 3},
        {"credit": "reward_to_go"},
        {"credit": "reward_to_go", "credit_discount": 0.5, "scale_rewards": "batch"},
        {"credit": "reward_to_go", "credit_baseline": "last_step"},
        {"credit": "reward_to_go", "rewards": [MAEReward(aggregation="discounted"), RepetitionReward()]},
        {"credit": "reward_to_go", "loss_type": "luspo", "importance_sampling_level": "sequence"},
        {"likelihood_weight": 0.1},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_options_of_the_host_work(tmp_path: Path, changes: dict[str, Any]) -> None:
    trainer = small_trainer(tmp_path, max_steps=2, save_strategy="no", **changes)
    before = parameters(trainer.model).clone()
    trainer.train()
    assert trainer.state.global_step == 2
    after = parameters(trainer.model)
    assert torch.isfinite(after).all() and not torch.equal(before, after)
    if "sync_ref_model" in changes:
        assert not torch.equal(parameters(trainer.ref_model), before)


def test_gradient_checkpointing_changes_nothing(tmp_path: Path) -> None:
    results = []
    for checkpointing in (False, True):
        trainer = small_trainer(tmp_path, max_steps=4, save_strategy="no", activation_checkpointing=checkpointing)
        trainer.train()
        results.append(parameters(trainer.model))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation_checkpointing": True},
        {"restrict_log_probs": False},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 8},
        {"peft_config": LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)},
    ],
    ids=["plain", "activation checkpoints", "the host's head", "half a group at a time", "adapter"],
)
def test_sharing_prompts_changes_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    results = []
    for is_shared in (True, False):
        trainer = small_trainer(tmp_path, max_steps=2, save_strategy="no", share_prompts=is_shared, **changes)
        assert trainer.shares_prompts == is_shared
        trainer.train()
        results.append(parameters(trainer.model))
    torch.testing.assert_close(*results, atol=1e-5, rtol=0)


def test_prompts_are_computed_once(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, max_steps=1, save_strategy="no")
    layout, tokens = trainer.processor.layout, []
    trainer.model.model.register_forward_pre_hook(
        lambda module, args, given: tokens.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    trainer.train()
    completion = len(trainer.processor.model_token_mask(HORIZON))
    assert tokens[0] == (8, layout.prompt_length), "eight prompts are sampled from"
    packed = [shape for shape in tokens if shape[0] == 1]
    of_update = 4 * (layout.prompt_length - 1) + 16 * completion
    assert packed.count((1, of_update)) >= 1, "four prompts of four completions an update"


def test_what_cannot_share_prompts_is_trained_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_policy(small_processor())
    model.config.attention_dropout = 0.1
    warned: list[str] = []
    monkeypatch.setattr(policies.logger, "warning", warned.append)
    trainer = small_trainer(tmp_path, model=model, max_steps=1, save_strategy="no")
    (said,) = warned
    assert "A prompt is computed for each of its completions" in said and "has attention dropout" in said
    assert not trainer.shares_prompts
    trainer.train()


@pytest.mark.parametrize(
    ("rewards", "changes", "warns"),
    [
        ([MAEReward(pixels="moving")], {}, True),
        ([MAEReward(pixels="moving"), MAEReward()], {"reward_weights": [1.0, 0.0]}, True),
        ([RepetitionReward()], {}, True),
        ([MAEReward(pixels="moving"), MAEReward()], {}, False),
        ([MAEReward(pixels="moving")], {"likelihood_weight": 0.1}, False),
        ([MAEReward()], {}, False),
        ([Recorder()], {}, False),
    ],
)
def test_a_reward_that_should_not_be_alone_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rewards: list[Any], changes: dict[str, Any], warns: bool
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(grpo_config.logger, "warning", warned.append)
    small_trainer(tmp_path, rewards=rewards, max_steps=1, save_strategy="no", **changes)
    assert [said.partition(":")[0] for said in warned] == [f"`{rewards[0].__name__}` is the only reward"] * warns


@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_adapter_is_trained_and_its_absence_is_the_reference(tmp_path: Path, checkpointing: bool) -> None:
    adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, lora_dropout=0.1)
    trainer = small_trainer(
        tmp_path, peft_config=adapter, max_steps=2, save_strategy="no", activation_checkpointing=checkpointing
    )
    frozen = {name: p.clone() for name, p in trainer.model.named_parameters() if not p.requires_grad}
    learnt = {name: p.clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert trainer.ref_model is None
    trainer.train()
    now = dict(trainer.model.named_parameters())
    assert all(torch.equal(value, now[name]) for name, value in frozen.items())
    assert any(not torch.equal(value, now[name]) for name, value in learnt.items())
    batch = trainer._buffered_inputs[0]
    assert not torch.allclose(batch["old_per_token_logps"], batch["ref_per_token_logps"])


def test_a_checkpoint_on_disk_can_be_named(tmp_path: Path) -> None:
    small_policy(small_processor(), seed=4).save_pretrained(tmp_path / "base")
    trainer = small_trainer(tmp_path / "run", model=str(tmp_path / "base"), max_steps=2, save_strategy="no")
    start = parameters(trainer.ref_model).clone()
    trainer.train()
    assert torch.equal(parameters(trainer.ref_model), start)


def test_a_changed_model_is_its_own_reference(tmp_path: Path) -> None:
    """The host would load the weights on disk again."""
    from transformers import AutoModelForCausalLM

    small_policy(small_processor(), seed=4).save_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    with torch.no_grad():
        model.lm_head.weight += 1
    trainer = small_trainer(tmp_path / "run", model=model)
    assert torch.equal(parameters(trainer.ref_model), parameters(model))


def test_evaluation_draws_the_same_each_time(tmp_path: Path) -> None:
    rows = small_rows(small_processor(), count=4, seed=9)
    trainer = small_trainer(tmp_path, eval_dataset=rows, per_device_eval_batch_size=8, save_strategy="no")
    first, second = trainer.evaluate(), trainer.evaluate()
    assert first["eval_reward"] == second["eval_reward"] < 0


def test_evaluation_has_noise_of_its_own_in_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = small_rows(small_processor(), count=1, seed=9)
    rows = datasets.concatenate_datasets([rows] * 4)  # four times the same situation
    trainer = small_trainer(tmp_path, eval_dataset=rows, per_device_eval_batch_size=4, max_steps=2, save_strategy="no")
    seeds: list[int] = []
    sample = trainer.modality.sample

    def noting(*args: Any, **how: Any) -> Any:
        seeds.extend(how["seeds"])
        return sample(*args, **how)

    monkeypatch.setattr(trainer.modality, "sample", noting)
    trainer.evaluate()
    assert len(seeds) == len({*seeds}) == 4
    first = list(seeds)
    trainer.evaluate()
    assert seeds[4:] == first
    trainer.train()
    assert not {*first} & {*seeds[8:]}


def test_the_best_of_aligned_checkpoints_is_loaded_at_the_end(tmp_path: Path) -> None:
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_reward", "greater_is_better": True}
    rows = small_rows(small_processor(), count=4, seed=9)
    how = {"eval_strategy": "steps", "eval_steps": 3, "save_steps": 3, "eval_dataset": rows, **best}
    trainer = small_trainer(tmp_path, max_steps=8, per_device_eval_batch_size=16, **how)
    trainer.train()
    assert trainer.args.save_steps == trainer.args.eval_steps == 4
    assert trainer.state.best_model_checkpoint is not None


def test_more_epochs_than_before_go_on(tmp_path: Path) -> None:
    how = {"max_steps": -1, "save_strategy": "steps", "save_steps": 2}
    first = small_trainer(tmp_path, num_train_epochs=1, **how)
    done = first.train().global_step
    assert small_trainer(tmp_path, num_train_epochs=1, **how).train(resume_from_checkpoint=True).global_step == done
    longer = small_trainer(tmp_path, num_train_epochs=2, **how)
    assert longer.train(resume_from_checkpoint=True).global_step == 2 * done


class Kill(Exception):
    pass


@pytest.mark.parametrize(
    "changes",
    [{}, {"num_iterations": 2}, {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 8}],
    ids=["plain", "num_iterations", "accumulation"],
)
def test_a_killed_run_resumes_to_the_same_parameters(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Twelve updates are two or three epochs; the kill comes in the middle of the updates of a batch of rollouts."""
    from transformers import TrainerCallback

    class KillAt(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 9:
                raise Kill

    whole = small_trainer(tmp_path / "whole", max_steps=12, save_steps=4, **changes)
    whole.train()
    killed = small_trainer(tmp_path / "killed", max_steps=12, save_steps=4, callbacks=[KillAt()], **changes)
    with pytest.raises(Kill):
        killed.train()
    resumed = small_trainer(tmp_path / "killed", max_steps=12, save_steps=4, **changes)
    resumed.train(resume_from_checkpoint=True)
    assert torch.equal(parameters(whole.model), parameters(resumed.model))
    assert rewards_of(whole) == rewards_of(resumed)

    again = small_trainer(tmp_path / "killed", max_steps=12, save_steps=4, **changes)
    again.train(resume_from_checkpoint=last_checkpoint(tmp_path / "killed"))
    assert again.state.global_step == 12, "a finished run makes no further update"
    assert torch.equal(parameters(whole.model), parameters(again.model))


@pytest.mark.filterwarnings("ignore:Cannot enable progress bars:UserWarning")  # the host turns them on again
def test_a_trained_world_model_goes_to_the_hub_whole(tmp_path: Path, hub: LocalHub) -> None:
    repo = f"{USER}/trained"
    options = {"push_to_hub": True, "hub_model_id": repo, "hub_strategy": "every_save"}
    trainer = small_trainer(tmp_path, max_steps=2, save_steps=2, **options)
    trainer.train()
    in_progress = set(hub.files(repo))
    trainer.push_to_hub(revision="final")
    files = hub.files(repo, revision="final")
    assert {"model.safetensors", "processor_config.json", "codec/config.json", "README.md", "video.py"} <= in_progress
    assert in_progress == set(files) and not [path for path in files if path.endswith(".bin")]
    row = trainer.train_dataset[0]
    predicted, expected = (
        WorldModelPipeline(*pair)(row["context"], row["actions"])
        for pair in (load_world_model(repo), (trainer.model.eval(), trainer.processor))
    )
    assert torch.equal(predicted, expected)
    assert f"({trainer.modality.horizon + 1}, 1)" in files["README.md"].decode(), (
        "the card's example has the run's horizon"
    )


@pytest.mark.parametrize("merge", [True, False])
def test_an_adapter_goes_to_the_hub_merged_or_with_its_base(tmp_path: Path, hub: LocalHub, merge: bool) -> None:
    repo = f"{USER}/adapter-{merge}".lower()
    adapter = LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    trainer = small_trainer(tmp_path, peft_config=adapter, hub_model_id=repo)
    trainer.push_to_hub(merge_adapter=merge)
    assert ("adapter_config.json" in hub.files(repo)) is not merge
    model, processor = load_world_model(repo)
    row = trainer.train_dataset[0]
    predicted, expected = (
        WorldModelPipeline(*pair)(row["context"], row["actions"])
        for pair in ((model, processor), (trainer.model.eval(), trainer.processor))
    )
    torch.testing.assert_close(predicted, expected, **({} if merge else {"rtol": 0, "atol": 0}))


def test_a_wrong_processor_is_refused(tmp_path: Path) -> None:
    processor = small_processor()
    with pytest.raises(TypeError, match="WorldModelProcessor"):
        WorldModelGRPOTrainer(small_policy(processor), MAEReward(), processing_class=processor.tokenizer)


def test_a_token_is_credited_with_what_follows(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, max_steps=2, save_strategy="no", credit="reward_to_go", learning_rate=0.0)
    trainer.train()
    advantages = torch.cat([batch["advantages"] for batch in trainer._buffered_inputs])
    steps = advantages.unflatten(1, (HORIZON, -1))
    assert (steps == steps[..., :1]).all(), "one value a step"
    assert not torch.equal(steps[:, 0], steps[:, -1])
    groups = steps[..., 0].unflatten(0, (-1, 4))
    torch.testing.assert_close(groups.mean(1), torch.zeros(8, HORIZON), atol=1e-4, rtol=0)

    torch.manual_seed(0)
    whole = small_trainer(tmp_path, max_steps=2, save_strategy="no", learning_rate=0.0)
    whole.train()
    first = torch.cat([batch["advantages"] for batch in whole._buffered_inputs])
    torch.testing.assert_close(steps[:, 0, 0], first, atol=1e-4, rtol=1e-4)


def test_likelihood_is_that_of_the_recorded_completions(tmp_path: Path) -> None:
    """Logged of a policy that stays as it is, each group once, at temperature 1; then it is what is learned."""
    alike = {"rewards": Recorder(), "beta": 0.0, "max_steps": 1, "save_strategy": "no"}
    trainer = small_trainer(tmp_path, temperature=0.5, likelihood_weight=1.0, learning_rate=0.0, **alike)
    trainer.train()
    batch = {name: torch.cat([update[name] for update in trainer._buffered_inputs]) for name in ("recorded_ids",)}
    assert batch["recorded_ids"].unflatten(0, (8, 4)).unique(dim=1).shape[1] == 1
    first, processor = trainer._buffered_inputs[0], trainer.processor
    ids = torch.cat([first["prompt_ids"], first["recorded_ids"]], dim=1)[::4]
    length = first["recorded_ids"].shape[1]
    logits = trainer.model(ids).logits[:, -length - 1 : -1]
    allowed = torch.zeros(length, logits.shape[2], dtype=torch.bool)
    for position, (low, high) in enumerate(processor.token_ranges(HORIZON).tolist()):
        allowed[position, low:high] = True
    log_probs = logits.masked_fill(~allowed, -torch.inf).log_softmax(-1).gather(-1, ids[:, -length:, None])[..., 0]
    expected = -log_probs[:, processor.model_token_mask(HORIZON)].mean().item()
    logged = [entry["likelihood"] for entry in trainer.state.log_history if "likelihood" in entry]
    assert logged == [pytest.approx(expected, rel=1e-4)]

    learning = small_trainer(tmp_path, likelihood_weight=1.0, **alike | {"max_steps": 8})
    learning.train()
    logged = [entry["likelihood"] for entry in learning.state.log_history if "likelihood" in entry]
    assert logged[-1] < logged[0]
    for weight, changed in ((0.0, False), (1.0, True)):
        torch.manual_seed(0)
        one = small_trainer(tmp_path, likelihood_weight=weight, weight_decay=0.0, **alike)
        before = parameters(one.model).clone()
        one.train()
        assert torch.equal(parameters(one.model), before) != changed


def test_padding_has_no_likelihood(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, likelihood_weight=1.0)
    rows = [dict(trainer.train_dataset[index]) for index in range(2)]
    rows[1]["reference_mask"] = np.array([True] * (HORIZON - 1) + [False])
    groups = GroupedRows.of([row for row in rows for _ in range(4)], group_size=4, process=0)
    mask = trainer.modality.recorded(groups)["recorded_mask"].unflatten(1, (HORIZON, -1))
    assert mask.shape[0] == 8 and mask[:4].any(dim=2).all()
    assert mask[4:, :-1].any(dim=2).all() and not mask[4:, -1].any()


def test_all_tokens_are_credited_alike_with_a_reward_of_the_last_step(tmp_path: Path) -> None:
    by_credit = []
    for credit in ("reward_to_go", "completion"):
        torch.manual_seed(0)
        reward = MAEReward(aggregation="last")
        changes = {"max_steps": 1, "save_strategy": "no", "learning_rate": 0.0, "credit": credit}
        trainer = small_trainer(tmp_path, rewards=reward, **changes)
        trainer.train()
        by_credit.append(torch.cat([batch["advantages"] for batch in trainer._buffered_inputs]))
    by_token, whole = by_credit
    assert whole.abs().max() > 0.5
    torch.testing.assert_close(by_token, whole[:, None].expand_as(by_token), atol=1e-3, rtol=1e-3)


def test_a_reward_without_steps_cannot_be_credited_by_step(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="recorder"):
        small_trainer(tmp_path, rewards=Recorder(), credit="reward_to_go")


def test_the_host_still_has_the_seams_we_use() -> None:
    """Fails with the name of the seam that TRL moved: see sections 10 of STYLE and C of the field notes."""
    expected = {
        "_generate_and_score_completions": ["self", "inputs"],
        "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
        "_prepare_inputs": ["self", "generation_batch"],
        "_tokenize_prompts": ["self", "prompts"],
        "_get_train_sampler": ["self", "dataset"],
        "compute_loss": ["self", "model", "inputs", "return_outputs", "num_items_in_batch"],
        "create_model_card": ["self", "model_name", "dataset_name", "tags"],
    }
    for name, arguments in expected.items():
        assert list(inspect.signature(getattr(GRPOTrainer, name)).parameters) == arguments, name
    forward = list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    wanted = ["self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy"]
    assert forward[: len(wanted)] == wanted
    generate = inspect.getsource(GRPOTrainer._generate)
    for needed in ("self.rollout_func(prompts, self)", 'extra_fields.pop("env_mask"', '"logprobs"'):
        assert needed in generate, f"`rollout_func` is no longer called as `_rollout` expects: {needed}"
    construction = inspect.getsource(GRPOTrainer.__init__)
    for prepared in ("disable_dropout_in_model", "add_fused_lm_head", "prepare_deepspeed", "prepare_fsdp", "Sync"):
        assert prepared in construction, f"`attach_reference` prepares a reference policy otherwise: {prepared}"
    assert "self._step % generate_every == 0" in inspect.getsource(GRPOTrainer._prepare_inputs)
    head = inspect.getsource(add_fused_lm_head)
    assert "shift_labels" in head and "(*args, **kwargs)" in head, "a packed row is scored by the host's head"
    scoring = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    assert "self._generate(prompts)" in scoring and "process_slice" in scoring


def test_its_card_is_ours_and_says_that_nothing_was_measured(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "rlvr_world_hf" and {"world-model", "trl"} <= set(card.data.tags)
    assert NOT_EVALUATED in card.text and "reward: mae" in card.text and "learning_rate: 0.003" in card.text
    assert "not recorded" in card.text.split("## Data")[1]

    trainer.create_model_card(model_name="pusher", dataset_name="owner/pushes", tags="mine")
    card = ModelCard.load(tmp_path / "README.md")
    assert card.text.strip().startswith("# pusher") and card.data.datasets == ["owner/pushes"]
    assert "mine" in card.data.tags and "huggingface.co/datasets/owner/pushes" in card.text


def test_code_of_its_card_runs(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, max_steps=1, save_strategy="no")
    trainer.save_model()
    trainer.create_model_card()
    code = re.search(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(code[1], names)
    assert names["predicted"].shape == (4, HORIZON, 3, 16, 16)


def test_a_card_with_results_stays(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, max_steps=1, save_strategy="no")
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "README.md").write_text("measured")
    trainer.create_model_card()
    assert (tmp_path / "README.md").read_text() == "measured"
