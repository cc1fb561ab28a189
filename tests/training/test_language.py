import datasets
import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model

from rlvr_world_hf import LanguageWorldModelProcessor, WorldModelGRPOConfig, WorldModelGRPOTrainer
from rlvr_world_hf.processors.layout import IGNORED_LABEL
from rlvr_world_hf.rewards.text import TextReward
from rlvr_world_hf.rollouts.text import sample_text
from rlvr_world_hf.states.differences import mark_differences
from rlvr_world_hf.training import modality, policies
from rlvr_world_hf.training.language import (
    TextLikelihoodConfig,
    build_language_policy,
    finetune,
    tokenize_transitions,
    train_text_tokenizer,
)
from tests.tiny import text_tokenizer


SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
THINGS = ("door", "box", "lid", "gate")


class OpensReward(TextReward):
    """Share of the answer's letters that are of the word `open`; what a policy of random weights can learn at once."""

    name, higher_is_better, best, floor, columns = "opens", True, 1.0, 0.0, ("ground_truth",)

    def measure(self, completion, *, ground_truth):
        text = completion.replace("<|endoftext|>", "")
        return sum(letter in "open" for letter in text) / max(len(text), 1)


class LengthReward(OpensReward):
    """Tells completions apart, whatever they say."""

    name = "length"

    def measure(self, completion, *, ground_truth):
        return len(completion) / 8


@pytest.fixture
def processor():
    return LanguageWorldModelProcessor(text_tokenizer(), prompt_template="{state}\n> {action}\n")


@pytest.fixture
def rows():
    columns = {"prompt": [f"shut({thing})\n> open {thing}\n" for thing in THINGS] * 4}
    columns["completion"] = [f"open({thing})" for thing in THINGS] * 4
    return datasets.Dataset.from_dict(columns | {"ground_truth": columns["completion"]})


def train(processor, rows, folder, *, max_steps=8, adapter=None, **arguments):
    model = build_language_policy(processor.tokenizer, **SIZES)
    model = get_peft_model(model, adapter) if adapter else model
    tokens = tokenize_transitions(rows, processor, max_length=128)
    own = {name: arguments.pop(name) for name in ("eval_steps", "batch_size", "learning_rate") if name in arguments}
    settings = {"eval_steps": 4, "batch_size": 8, "learning_rate": 1e-2} | own
    arguments = {"disable_tqdm": True, **arguments}
    args = TextLikelihoodConfig(max_steps=max_steps, training_arguments=arguments, **settings)
    return model, finetune(model, processor, tokens, tokens, output_dir=folder, args=args)


def test_a_tokenizer_writes_anything():
    tokenizer = train_text_tokenizer(["open(door)"] * 9, vocab_size=300)
    text = "Ünseen 123\n\t- lid  (4)"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert len(tokenizer("open(door)").input_ids) < len("open(door)")
    with pytest.raises(ValueError, match="256 bytes"):
        train_text_tokenizer([], vocab_size=256)


def test_only_answers_are_learned(processor, rows):
    tokens = tokenize_transitions(rows.select([0]), processor, max_length=128)[0]
    learned = [token for token, label in zip(tokens["input_ids"], tokens["labels"], strict=True) if label >= 0]
    assert processor.decode_state([learned]) == ["open(door)"]
    assert tokens["labels"].count(IGNORED_LABEL) == len(processor.encode_prompt(rows["prompt"][:1])[0])


def test_what_is_too_long_is_left_out_not_cut(processor, rows):
    shortest = len(tokenize_transitions(rows, processor, max_length=128)[2]["input_ids"])  # of the lid
    assert len(tokenize_transitions(rows, processor, max_length=shortest)) < len(rows)
    with pytest.raises(ValueError, match="raise it"):
        tokenize_transitions(rows, processor, max_length=3)


def test_the_loss_falls_and_the_best_checkpoint_is_kept(processor, rows, tmp_path):
    model, result = train(processor, rows, tmp_path)
    losses = [entry["eval_loss"] for entry in result.history if "eval_loss" in entry]
    assert losses[-1] < 0.8 * losses[0]
    assert result.best_checkpoint.endswith("checkpoint-8")
    again, same = train(processor, rows, tmp_path)
    assert same.best_checkpoint == result.best_checkpoint
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(processor, rows, tmp_path):
    train(processor, rows, tmp_path / "cut", max_steps=4)
    resumed, _ = train(processor, rows, tmp_path / "cut")
    whole, _ = train(processor, rows, tmp_path / "whole")
    assert all(torch.equal(one, other) for one, other in zip(resumed.parameters(), whole.parameters(), strict=True))


def test_an_update_in_parts_is_the_same_update(processor, rows, tmp_path):
    """Each token counts alike, whichever part of the update it is in; parts differ in length, and in padding."""
    eight = rows.select([0, 5, 2, 7, 8, 1, 6, 3])
    settings = {"max_steps": 1, "eval_steps": 1, "optim": "sgd", "learning_rate": 1.0}  # its update is the gradient
    whole, _ = train(processor, eight, tmp_path / "whole", batch_size=8, **settings)
    parts, _ = train(
        processor,
        eight,
        tmp_path / "parts",
        batch_size=2,
        gradient_accumulation_steps=4,
        pad_to_multiple_of=1,
        **settings,
    )
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert (one - other).abs().max() < 1e-4


def test_parts_of_an_update_are_cut_by_length(processor, rows, tmp_path):
    lengths = []
    tokens = tokenize_transitions(rows, processor, max_length=128)
    model = build_language_policy(processor.tokenizer, **SIZES)
    model.register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(tuple(kwargs["input_ids"].shape)) if module.training else None,
        with_kwargs=True,
    )
    arguments = {"gradient_accumulation_steps": 4, "pad_to_multiple_of": 1, "disable_tqdm": True}
    args = TextLikelihoodConfig(max_steps=2, eval_steps=2, batch_size=2, training_arguments=arguments)
    finetune(model, processor, tokens, tokens, output_dir=tmp_path, args=args)
    assert [rows for rows, _ in lengths] == [2] * 8
    for update in (lengths[:4], lengths[4:]):
        assert [length for _, length in update] == sorted((length for _, length in update), reverse=True)
        assert len({length for _, length in update}) > 1


def test_the_validation_loss_is_also_in_nats_an_answer(processor, rows, tmp_path):
    model, result = train(processor, rows, tmp_path, max_steps=4, learning_rate=0.0, batch_size=3)
    tokens = tokenize_transitions(rows, processor, max_length=128)
    nats = []
    for row in tokens:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
        scores = model(ids).logits[0, :-1].log_softmax(dim=-1)
        learned = labels[1:] != IGNORED_LABEL
        nats.append(-scores[learned, labels[1:][learned]].sum().item())
    measured = [entry["eval_nats_per_answer"] for entry in result.history if "eval_loss" in entry]
    assert measured[0] == pytest.approx(sum(nats) / len(nats), rel=1e-4)


def test_an_adapter_is_trained_in_place_of_the_policy(processor, rows, tmp_path):
    model, result = train(
        processor, rows, tmp_path, adapter=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    losses = [entry["eval_loss"] for entry in result.history if "eval_loss" in entry]
    assert losses[-1] < losses[0]
    fresh = build_language_policy(processor.tokenizer, **SIZES)
    assert torch.equal(model.get_base_model().model.embed_tokens.weight, fresh.model.embed_tokens.weight)


def test_reward_rises_on_free_text(processor, rows, tmp_path):
    args = WorldModelGRPOConfig(
        str(tmp_path),
        per_device_train_batch_size=16,
        num_generations=8,
        updates_per_generation=1,
        max_completion_length=8,
        max_steps=12,
        learning_rate=2e-2,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )
    model = build_language_policy(processor.tokenizer, **SIZES)
    trainer = WorldModelGRPOTrainer(model, OpensReward(), args, rows, processing_class=processor)
    trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert sum(rewards[-3:]) > sum(rewards[:3]) + 0.3
    trainer.save_model(str(tmp_path / "rlvr"))
    assert (tmp_path / "rlvr" / "processor_config.json").exists()


def text_trainer(processor, rows, folder, **changes):
    args = WorldModelGRPOConfig(
        str(folder),
        per_device_train_batch_size=16,
        num_generations=4,
        updates_per_generation=2,
        max_completion_length=8,
        max_steps=2,
        learning_rate=1e-2,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **changes,
    )
    model = build_language_policy(processor.tokenizer, **SIZES)
    return WorldModelGRPOTrainer(model, LengthReward(), args, rows, processing_class=processor)


def test_logged_answers_have_their_differences_beside_them(processor, rows, tmp_path):
    text_trainer(processor, rows, tmp_path, log_completions=True, num_completions_to_print=1, logging_steps=1).train()
    table = pd.read_parquet(tmp_path / "completions" / "completions_00001.parquet")
    recorded = dict(zip(rows["prompt"], rows["completion"], strict=True))
    assert len(table) == 32
    for prompt, completion, difference in zip(table["prompt"], table["completion"], table["difference"], strict=True):
        assert difference == mark_differences(processor.find_answer(completion), recorded[prompt])


def test_a_step_with_shared_prompts_is_the_host_s(processor, rows, tmp_path, monkeypatch):
    """
    Of completions that both are given: the host draws with another noise. In float64, as Adam turns the rounding of a
    gradient near 0 into a step of its own.
    """
    random = torch.Generator().manual_seed(0)

    def completions(self, prompt_ids, *args, **kwargs):
        random.manual_seed(0)
        lengths = torch.randint(1, 9, (len(prompt_ids),), generator=random).tolist()
        return [torch.randint(3, 60, (length,), generator=random).tolist() for length in lengths], None

    monkeypatch.setattr(WorldModelGRPOTrainer, "_generate_single_turn", completions)
    results = []
    for is_shared in (True, False):
        trainer = text_trainer(processor, rows, tmp_path, share_prompts=is_shared)
        trainer.rollout_func = None  # the completions above
        trainer.model.double()
        trainer.train()
        results.append(torch.cat([parameter.flatten() for parameter in trainer.model.parameters()]))
    torch.testing.assert_close(*results, atol=1e-5, rtol=0)


def test_a_group_is_sampled_from_one_prompt(processor, rows, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        modality, "sample_text", lambda *args, **given: asked.append(args) or sample_text(*args, **given)
    )
    text_trainer(processor, rows, tmp_path).train()
    ((_, prompts),) = asked
    assert len(prompts) == 8, "32 completions, four of each"
    text_trainer(processor, rows, tmp_path, min_p=0.1).train()
    assert len(asked) == 1, "only the host knows `min_p`"


@pytest.mark.slow
def test_with_continuous_batching_the_host_samples_and_prompts_are_not_shared(processor, rows, tmp_path, monkeypatch):
    warned = []
    monkeypatch.setattr(policies.logger, "warning", warned.append)
    trainer = text_trainer(processor, rows, tmp_path, use_transformers_continuous_batching=True)
    assert len(warned) == 1 and "continuous batching knows attention by its usual names only" in warned[0]
    assert not trainer.shares_prompts and trainer.rollout_func is None
    before = torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])
    trainer.train()
    after = torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])
    assert trainer.state.global_step == 2 and not torch.equal(before, after)


def test_text_has_no_steps_to_credit(processor, rows, tmp_path):
    args = WorldModelGRPOConfig(str(tmp_path), credit="reward_to_go")
    model = build_language_policy(processor.tokenizer, **SIZES)

    class SteppedReward(OpensReward):
        def score_steps(self):
            raise AssertionError

    with pytest.raises(ValueError, match="known length"):
        WorldModelGRPOTrainer(model, SteppedReward(), args, rows, processing_class=processor)
    args = WorldModelGRPOConfig(str(tmp_path), likelihood_weight=0.1)
    with pytest.raises(ValueError, match="`likelihood_weight` is for worlds of frames and sensors"):
        WorldModelGRPOTrainer(model, OpensReward(), args, rows, processing_class=processor)
