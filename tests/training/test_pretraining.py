from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback

from rlvr_world_hf.hub.training_checkpoints import checkpoint_state, last_checkpoint
from rlvr_world_hf.processors.layout import IGNORED_LABEL
from rlvr_world_hf.rollouts.head import RangeHead
from rlvr_world_hf.training.pretraining import (
    LikelihoodConfig,
    Pretraining,
    _first_label,
    build_policy,
    pretrain,
    tokenize_rows,
)
from tests.training.world import HORIZON, parameters, small_policy, small_processor, small_rows


@pytest.fixture(scope="module")
def processor():
    return small_processor()


@pytest.fixture(scope="module")
def tokens(processor) -> tuple[Dataset, Dataset]:
    """Of training and validation rows."""
    return tuple(tokenize_rows(small_rows(processor, count=24, seed=seed), processor, batch_size=7) for seed in (1, 2))


def train(model: Any, tokens: tuple[Dataset, Dataset], folder: Path, **changes: Any) -> Pretraining:
    fields = {"max_steps": 12, "eval_steps": 4, "batch_size": 8, "learning_rate": 1e-2, "warmup_steps": 2}
    given = fields | {"disable_tqdm": True} | changes
    parts = {name: given.pop(name) for name in ("range_head", "callbacks") if name in given}
    own = {name: given.pop(name) for name in [*given] if name in LikelihoodConfig.__dataclass_fields__}
    return pretrain(model, *tokens, output_dir=folder, args=LikelihoodConfig(**own, training_arguments=given), **parts)


def test_tokens_are_those_of_the_processor(processor, tokens) -> None:
    rows = small_rows(processor, count=24, seed=1)
    row = {name: torch.tensor(value)[None] for name, value in rows[9].items()}
    encoded = processor(**row)
    assert torch.equal(tokens[0][9]["input_ids"], encoded["input_ids"][0])
    assert torch.equal(tokens[0][9]["labels"], encoded["labels"][0])
    learnt = tokens[0][9]["labels"] != -100
    assert learnt[: processor.layout.prompt_length].sum() == 0
    assert torch.equal(learnt[processor.layout.prompt_length :], processor.model_token_mask(HORIZON))
    assert tokens[0].features["input_ids"].feature.dtype == "int32"


def test_padded_steps_are_not_learnt(processor) -> None:
    def pad(batch: dict) -> dict:
        return {name: batch[name] for name in ("context", "actions", "reference")} | {
            "reference_mask": [torch.tensor([True, False]).numpy()] * len(batch["context"])
        }

    rows = small_rows(processor, count=2)
    read = rows.format["format_kwargs"]["transform"]
    padded = tokenize_rows(rows.with_transform(lambda batch: pad(read(batch))), processor)
    assert (padded[0]["labels"][-processor.layout.step_length :] == -100).all()
    assert (padded[0]["labels"] != -100).sum() == processor.layout.dynamics_length


def test_tokens_are_written_to_a_file_as_they_come(processor, tokens, tmp_path: Path) -> None:
    rows = small_rows(processor, count=24, seed=1)
    written = tokenize_rows(rows, processor, batch_size=7, file=tmp_path / "tokens.arrow")
    assert [Path(file["filename"]) for file in written.cache_files] == [tmp_path / "tokens.arrow"]
    assert written.features == tokens[0].features and written.format == tokens[0].format
    for name in ("input_ids", "labels"):
        assert torch.equal(written[name][:], tokens[0][name][:])
    with pytest.raises(ValueError, match="Expected rows to tokenize, got none"):
        tokenize_rows(rows.select([]), processor, file=tmp_path / "none.arrow")


def test_the_first_label_is_that_of_any_row() -> None:
    labels = np.full((2500, 6), IGNORED_LABEL)
    labels[:, 4:] = 1
    labels[2100, 2] = 1
    tokens = Dataset.from_dict({"input_ids": np.zeros((2500, 6), int), "labels": labels})
    assert _first_label(tokens.with_format("torch")) == 2
    assert _first_label(tokens.select(range(2000))) == 4


def test_fresh_policies_depend_on_the_seed_only(processor) -> None:
    one, same, other = (parameters(small_policy(processor, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    tied = build_policy(processor.layout, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16, tie_word_embeddings=True)  # fmt: skip
    assert tied.lm_head.weight is tied.model.embed_tokens.weight


def test_loss_is_the_cross_entropy_of_what_the_model_writes(processor, tokens, tmp_path: Path) -> None:
    model = small_policy(processor)
    expected = model(input_ids=tokens[1]["input_ids"][:], labels=tokens[1]["labels"][:]).loss.item()
    result = train(model, tokens, tmp_path, max_steps=1, eval_steps=1, learning_rate=0.0, warmup_steps=0)
    assert result.history[-1]["eval_loss"] == pytest.approx(expected, abs=1e-5)


def test_may_learn_a_token_among_the_valid_ids_only(processor, tokens, tmp_path: Path) -> None:
    model, head = small_policy(processor), RangeHead.of(processor, HORIZON)
    ids, ranges = tokens[1]["input_ids"][:], processor.token_ranges(HORIZON)
    logits = model(input_ids=ids).logits[:, -len(ranges) - 1 : -1]
    expected = [
        torch.nn.functional.cross_entropy(logits[:, place, low:high], ids[:, place - len(ranges)] - low)
        for place, (low, high) in enumerate(ranges.tolist())
        if processor.model_token_mask(HORIZON)[place]
    ]
    result = train(model, tokens, tmp_path, max_steps=1, eval_steps=1, learning_rate=0.0, warmup_steps=0,
                   range_head=head)  # fmt: skip
    assert result.history[-1]["eval_loss"] == pytest.approx(torch.stack(expected).mean().item(), abs=1e-5)


def test_padded_steps_do_not_count_among_valid_ids_either(processor, tokens, tmp_path: Path) -> None:
    model, head = small_policy(processor), RangeHead.of(processor, HORIZON)
    step = processor.layout.step_length
    padded = tokens[1].map(lambda row: {"labels": [*row["labels"][:-step].tolist(), *[-100] * step]})
    ids, labels = padded["input_ids"][:], padded["labels"][:][:, -head.length :]
    result = train(model, (tokens[0], padded), tmp_path, max_steps=1, eval_steps=1, learning_rate=0.0, warmup_steps=0,
                   range_head=head)  # fmt: skip
    log_probs, _ = model(input_ids=ids, range_head=head, completion_ids=ids[:, -head.length :])
    assert result.history[-1]["eval_loss"] == pytest.approx(-log_probs[labels != -100].mean().item(), abs=1e-5)


def test_what_is_learned_among_valid_ids_moves_no_other(processor, tokens, tmp_path: Path) -> None:
    model = small_policy(processor)
    before = model.lm_head.weight.detach().clone()
    result = train(model, tokens, tmp_path, range_head=RangeHead.of(processor, HORIZON))
    losses = [entry["eval_loss"] for entry in result.history if "eval_loss" in entry]
    assert losses[-1] < losses[0]
    moved = (model.lm_head.weight - before).abs().sum(1) > 0
    assert moved.tolist() == [index < processor.layout.dynamics_codebook_size for index in range(len(moved))]


def test_keeps_the_best_checkpoint(processor, tokens, tmp_path: Path) -> None:
    model = small_policy(processor)
    result = train(model, tokens, tmp_path, learning_rate=0.3, warmup_steps=0)  # overshoots
    losses = {entry["step"]: entry["eval_loss"] for entry in result.history if "eval_loss" in entry}
    assert list(losses) == [4, 8, 12]
    best = min(losses, key=losses.get)
    assert result.best_checkpoint.endswith(f"checkpoint-{best}") and result.last_checkpoint.endswith("checkpoint-12")
    ids, labels = tokens[1]["input_ids"][:], tokens[1]["labels"][:]
    assert model(input_ids=ids, labels=labels).loss.item() == pytest.approx(losses[best], abs=1e-4)
    assert result.seconds > 0


class Kill(Exception):
    pass


class KillAt(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 10:
            raise Kill


def test_a_killed_run_resumes_to_the_same_parameters(processor, tokens, tmp_path: Path) -> None:
    whole = small_policy(processor)
    train(whole, tokens, tmp_path / "whole")
    with pytest.raises(Kill):
        train(small_policy(processor), tokens, tmp_path / "killed", callbacks=[KillAt()])
    (tmp_path / "killed" / "checkpoint-9").mkdir()  # what a kill in the middle of writing leaves
    resumed = small_policy(processor, seed=5)
    result = train(resumed, tokens, tmp_path / "killed")
    assert torch.equal(parameters(whole), parameters(resumed))
    again = small_policy(processor, seed=6)
    assert train(again, tokens, tmp_path / "killed").history == result.history
    assert torch.equal(parameters(whole), parameters(again)), "a finished run makes no further update"


def test_goes_on_from_another_run_for_so_many_seconds(processor, tokens, tmp_path: Path) -> None:
    base = small_policy(processor)
    first = train(base, tokens, tmp_path / "base", max_steps=8)
    control = train(
        base, tokens, tmp_path / "control", max_steps=9, minimum_seconds=1.0, continue_from=first.last_checkpoint
    )
    steps = [entry["step"] for entry in control.history if "eval_loss" in entry]
    assert steps[:2] == [4, 8] and steps[-1] > 9 and control.seconds >= 1.0
    assert checkpoint_state(control.last_checkpoint).global_step == steps[-1]

    straight = small_policy(processor)
    train(straight, tokens, tmp_path / "straight", max_steps=12)
    further = small_policy(processor)
    train(further, tokens, tmp_path / "further", continue_from=first.last_checkpoint)
    assert last_checkpoint(tmp_path / "further").endswith("checkpoint-12")
    assert torch.equal(parameters(straight), parameters(further)), "optimizer and order of the data go on"


def test_a_training_that_goes_on_from_another_is_looked_at_as_often_as_it_says(
    processor, tokens, tmp_path: Path
) -> None:
    first = train(small_policy(processor), tokens, tmp_path / "base", max_steps=4)
    onward = train(
        small_policy(processor),
        tokens,
        tmp_path / "on",
        max_steps=6,
        eval_steps=1,
        continue_from=first.last_checkpoint,
    )
    steps = [entry["step"] for entry in onward.history if "eval_loss" in entry]
    assert steps == [4, 5, 6], "not every 4 updates, as the one before"


def test_seconds_need_a_constant_learning_rate(processor, tokens, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cosine"):
        train(small_policy(processor), tokens, tmp_path, minimum_seconds=1.0, lr_scheduler_type="cosine")


def test_what_is_said_to_the_trainer_goes_before_what_is_derived() -> None:
    args = LikelihoodConfig(max_steps=1, batch_size=8, training_arguments={"seed": 3, "bf16": True})
    settings = args.trainer_settings(bf16=False, max_length=5)
    assert (settings["seed"], settings["bf16"], settings["max_length"]) == (3, True, 5)
    assert (settings["per_device_train_batch_size"], settings["per_device_eval_batch_size"]) == (8, 32)


def test_the_last_checkpoint_stays_beside_the_best(tmp_path: Path) -> None:
    for count in (2, None):
        LikelihoodConfig(max_steps=1, training_arguments={"save_total_limit": count}).complete_settings(
            output_dir=tmp_path
        )
    with pytest.raises(ValueError, match="`save_total_limit` of at least 2, .*got 1; raise it"):
        LikelihoodConfig(max_steps=1, training_arguments={"save_total_limit": 1}).complete_settings(
            output_dir=tmp_path
        )
