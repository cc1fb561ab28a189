"""A world of text through all stages in one command."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlvr_world_hf import LanguageWorldModelProcessor, WorldModelPipeline
from rlvr_world_hf.commands import cli
from rlvr_world_hf.commands.tools.bundle import bundle_checkpoints
from rlvr_world_hf.data.folder import UnusableEpisodesError
from rlvr_world_hf.data.transition import Transition
from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.hub import load_world_model
from rlvr_world_hf.hub.cards import FURTHER_ROWS
from rlvr_world_hf.hub.terms import GEMMA
from rlvr_world_hf.runs.kinds import kind_of
from rlvr_world_hf.runs.kinds import text as text_kind
from rlvr_world_hf.runs.kinds.kind import SPLITS
from rlvr_world_hf.runs.kinds.text import told_vocabulary
from rlvr_world_hf.runs.processes import Processes
from rlvr_world_hf.runs.recipe import Recipe, load_recipe
from rlvr_world_hf.runs.run import run, summary
from rlvr_world_hf.runs.stage import find_stage, stage_folder, try_stages
from rlvr_world_hf.runs.stages import control as control_module
from rlvr_world_hf.runs.stages.evaluate import measure_checkpoints
from rlvr_world_hf.worlds.textworld.reasons import write_reason
from tests.local_hub import Repository
from tests.recorded_outputs import hold_against_records
from tests.small_runs import SMALL_TEXT, small_text_recipe
from tests.tiny import text_tokenizer, tiny_language_model


REASON_MATCH = "rlvr_world_hf.worlds.textworld.rewards.ReasonMatchReward"


@pytest.fixture(scope="module")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    recipe = small_text_recipe(tmp_path_factory.mktemp("text"))
    run(recipe)
    return recipe


def test_results_card_and_examples(finished: Recipe) -> None:
    folder = finished.output_dir
    results = read_results(folder / "results.json")
    checkpoints = ["base", "base_best_sampling", "control", "control_equal_prompts", "rlvr"]
    assert list(results["rows"]) == ["nothing_changes", "oracle", *checkpoints]
    assert results["rewarded"] == ["fact_f1"]
    assert {"fact_f1", "exact_match", "fact_f1_changed", "parse_failure"} <= set(results["rows"]["rlvr"])
    assert results["rows"]["oracle"]["exact_match"]["mean"] == 1.0
    assert results["groups"]
    card = (folder / "README.md").read_text()
    assert "pipeline_tag: text-generation" in card and "## Examples" in card
    assert "fact_f1_changed ↑" in summary(finished)


def test_every_stage_makes_what_its_revision_made(finished: Recipe) -> None:
    hold_against_records(finished)


def test_games_of_a_split_are_in_no_other(finished: Recipe) -> None:
    splits = [set(kind_of(finished).stored(split)["transition_id"]) for split in ("train", "validation", "test")]
    assert all(splits) and len(set.union(*splits)) == sum(map(len, splits))
    assert len(kind_of(finished).rows("train", count=2)) == 2


def reasoning(finished: Recipe, **further: Any) -> Recipe:
    """The finished run's recipe, asked for reasons: its data are the same."""
    keys = {"pretrain.reasons": 6, "evaluate.metrics": [{"path": REASON_MATCH}], "evaluate.windows": 4}
    return small_text_recipe(finished.output_dir, **keys, **further)


def test_likelihood_learns_reasons_of_so_many_transitions(finished: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = reasoning(finished)
    kind, settings = kind_of(recipe), find_stage("pretrain").read(recipe)
    every, stored = kind.rows("train"), kind.stored("train")
    assert find_stage("collect").fingerprint(recipe) == find_stage("collect").fingerprint(finished)
    for row, plain in zip(every, stored, strict=True):
        assert (
            row["completion"]
            == f"<think>\n{write_reason(row['data_state'], row['data_action'])}\n</think>\n" + (plain["completion"])
        )
    counts = {
        name: [len(kind.learned(split, dataclasses.replace(settings, **change))) for split in ("train", "validation")]
        for name, change in {"part": {}, "all": {"reasons_everywhere": True}, "none": {"reasons": 0}}.items()
    }
    whole = [len(stored), len(kind.stored("validation"))]
    assert counts == {"part": [6, whole[1]], "all": whole, "none": whole} and whole[0] > 6
    assert kind.learned("train", dataclasses.replace(settings, reasons=0))["completion"] == stored["completion"]
    assert all(text.startswith("<think>") for text in kind.learned("validation", settings)["completion"])
    processor, model = kind.build_start()
    longer = dataclasses.replace(settings, max_length=2048)
    parts = kind.likelihood_parts(None, model, processor, longer)  # type: ignore[arg-type]
    assert "<think>\nyes at(player" in processor.tokenizer.decode(parts.tokens["train"][0]["input_ids"])


def test_controls_may_learn_the_answers_alone(finished: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(control_module, "likelihood_training", lambda *given, **_: asked.append(given[3].reasons))
    monkeypatch.setattr(control_module, "_last_of_pretrain", lambda run: None)
    monkeypatch.setattr(control_module, "checkpoint_folder", lambda *_: finished.output_dir / "base")
    fingerprints = []
    for answers_alone in (False, True):
        recipe = reasoning(finished, **{"control.answers_alone": answers_alone})
        control = find_stage("control")
        control.work(control._prepare(recipe, control.progress(recipe), Processes()))
        fingerprints.append([find_stage(name).fingerprint(recipe) for name in ("control", "control_equal_prompts")])
    assert asked == [6, 0]
    assert all(one != other for one, other in zip(*fingerprints, strict=True))


def test_answers_after_other_reasons_and_those_of_the_nearest_state_are_rows(finished: Recipe) -> None:
    recipe = reasoning(finished, **{"evaluate.replaced_reasons": ["rlvr"], "evaluate.nearest": True})
    checkpoint = load_world_model(finished.output_dir / "rlvr")
    rows = measure_checkpoints(recipe, {"rlvr": checkpoint})["rows"]
    others = [f"rlvr_reasons_{how}" for how in ("given", "swapped", "removed")]
    assert list(rows) == ["nothing_changes", "oracle", "nearest", *others, "rlvr"]
    measured = {row: of_row["reason_match"]["mean"] for row, of_row in rows.items()}
    assert measured["oracle"] == measured["rlvr_reasons_given"] == 1.0
    assert measured["rlvr_reasons_swapped"] == measured["rlvr_reasons_removed"] == measured["nearest"] == 0.0


@pytest.mark.slow
def test_reasons_go_through_all_stages(cache: Path, tmp_path: Path) -> None:
    keys = {"pretrain.reasons": 8, "control.answers_alone": True, "evaluate.replaced_reasons": ["base", "rlvr"]}
    keys |= {"evaluate.metrics": [{"path": REASON_MATCH}], "evaluate.nearest": True, "evaluate.windows": 4}
    keys["pretrain.max_length"] = 2048
    recipe = small_text_recipe(tmp_path, **keys)
    run(recipe)
    results = read_results(tmp_path / "results.json")
    assert {"nearest", "control", "control_equal_prompts", "rlvr_reasons_swapped"} <= results["rows"].keys()
    assert results["rows"]["oracle"]["reason_match"]["mean"] == 1.0
    card = (tmp_path / "README.md").read_text()
    assert FURTHER_ROWS["_reasons_given"] in card and FURTHER_ROWS["nearest"] in card
    assert FURTHER_ROWS["law"] not in card


def test_the_nearest_state_answers_what_it_went_through(finished: Recipe) -> None:
    kind = kind_of(small_text_recipe(finished.output_dir))
    known = kind.stored("train").select(range(8))
    assert kind.nearest(known) == known["completion"], "each is the nearest to itself"
    unknown = datasets.Dataset.from_dict({"data_state": ["at(player, attic)"], "data_action": ["sing"]})
    assert kind.nearest(unknown) == ["nothing changes"]


def test_a_state_and_an_action_are_answered(finished: Recipe) -> None:
    pipeline = WorldModelPipeline.from_pretrained(finished.output_dir / "rlvr")
    assert isinstance(pipeline.processor, LanguageWorldModelProcessor)
    answers = pipeline("at(player, attic)", "look", num_samples=2)
    assert len(answers) == 2 and all(isinstance(answer, str) for answer in answers)
    assert pipeline("at(player, attic)\n> look\n", num_samples=2) == answers


def test_predict_prints_an_answer(finished: Recipe, capsys: pytest.CaptureFixture) -> None:
    words = ["predict", "textworld/debug", "--output_dir", str(finished.output_dir)]
    words += [word for key, value in SMALL_TEXT.items() for word in (f"--{key}", str(value))]
    before = {file: file.stat().st_mtime_ns for file in finished.output_dir.rglob("*")}
    pipeline = WorldModelPipeline.from_pretrained(finished.output_dir / "rlvr")
    # YAML would fold the lines, read the object, and take the action for false.
    state, action = 'at(player, attic)\n{"lamp": "on"} #1', "no"
    expected = pipeline(state, action, temperature=3.0)[0]
    assert len(expected) > 20
    for _ in range(2):
        assert cli.main([*words, "--temperature", "3.0", "--state", state, "--action", action]) == 0
        assert capsys.readouterr().out.endswith(expected + "\n")
    assert {file: file.stat().st_mtime_ns for file in finished.output_dir.rglob("*")} == before


def test_a_finished_run_is_not_run_again(finished: Recipe) -> None:
    written = (finished.output_dir / "rlvr" / "model.safetensors").stat().st_mtime_ns
    run(finished)
    assert (finished.output_dir / "rlvr" / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.slow  # without an adapter the stages are run above, and with one their trainers in tests/training
def test_an_adapter_goes_through_all_stages(cache: Path, finished: Recipe, tmp_path: Path) -> None:
    start = {
        "pretrain.start_from": str(finished.output_dir / "base"),
        "tokenizer.source": str(finished.output_dir / "base"),
    }
    recipe = small_text_recipe(tmp_path / "lora", **start, **{"pretrain.lora_rank": 2, "pretrain.lora_alpha": 4})
    run(recipe)
    for name in ("base", "control", "rlvr"):
        assert not list((recipe.output_dir / name).glob("adapter*")), "adapters are merged"
    assert "rlvr" in read_results(recipe.output_dir / "results.json")["rows"]


SMALL_GEMMA = {
    "collect.train": 4,
    "collect.validation": 1,
    "collect.test": 1,
    "collect.length": 10,
    "collect.processes": 1,
    "pretrain.max_steps": 4,
    "pretrain.eval_steps": 2,
    "grpo.max_steps": 2,
    "grpo.save_steps": 1,
    "control.max_steps": 2,
    "evaluate.windows": 6,
    "pretrain.bf16": False,  # the same on every machine
    "grpo.bf16": False,
}


@pytest.fixture(scope="module")
def gemma(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("gemma")
    recipe = load_recipe("textworld/gemma_debug", overrides={**SMALL_GEMMA, "output_dir": str(folder)})
    try_stages(recipe, [*recipe.sections])
    run(recipe)
    return recipe


def test_a_language_model_goes_through_all_stages(gemma: Recipe) -> None:
    results = read_results(gemma.output_dir / "results.json")
    checkpoints = ["base", "base_best_sampling", "control", "rlvr"]
    assert list(results["rows"]) == ["nothing_changes", "oracle", "few_shot", "scratch", *checkpoints]
    assert {"exact_match", "exact_match_changed", "exact_match_unchanged"} <= results["rows"]["few_shot"].keys()
    assert results["rows"]["scratch"]["exact_match"]["mean"] > 0, "it was trained on games of that kind"


def test_its_card_names_the_terms_of_the_weights(gemma: Recipe) -> None:
    card = (gemma.output_dir / "README.md").read_text()
    assert GEMMA.notice in card and "license: gemma" in card
    with pytest.raises(ValueError, match="under gemma terms; only their results may be committed"):
        bundle_checkpoints(gemma.output_dir, "gemma", into=gemma.output_dir)


def test_its_vocabulary_is_cut_and_the_cut_counted(gemma: Recipe, caplog: pytest.LogCaptureFixture) -> None:
    counts = json.loads((gemma.output_dir / "vocabulary.json").read_text())
    whole = kind_of(gemma).build_processor().tokenizer
    cut = AutoTokenizer.from_pretrained(gemma.output_dir / "rlvr")
    assert counts["tokens"] == len(cut) < counts["tokens_before"] == len(whole)
    rows = kind_of(gemma).stored("train")
    assert counts["texts"]["train"]["texts"] == 2 * len(rows) and counts["texts"]["train"]["texts_in_pieces"] == 0
    for text in [*rows["prompt"], *rows["completion"]]:
        assert cut.convert_ids_to_tokens(cut(text).input_ids) == whole.convert_ids_to_tokens(whole(text).input_ids)
    assert set(counts["texts"]) == {"train", "validation", "test"}
    assert "vocabulary cut from" in told_vocabulary(counts)


@pytest.mark.parametrize("name", ["base", "control", "rlvr"])
def test_its_checkpoints_are_plain_folders_of_transformers(gemma: Recipe, name: str) -> None:
    folder = gemma.output_dir / name
    assert not list(folder.glob("adapter*"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.float32 and model.config.vocab_size == len(tokenizer)
    pipeline = WorldModelPipeline.from_pretrained(folder)
    prompt = pipeline.processor.write_prompt("at(player, attic)", "look")
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    assert ids[0, 0] == tokenizer.bos_token_id == model.config.bos_token_id
    assert (model(ids).logits - pipeline.model(ids).logits).abs().max() < 1e-4


def test_rl_goes_on_with_the_adapter_of_base(gemma: Recipe) -> None:
    """What RL begins with and holds on to is base, to the last bit of its adapter; one matrix of low rank in all."""
    kind = kind_of(gemma)
    base, start = (load_file(place / "model.safetensors") for place in (gemma.output_dir / "base", kind.trimmed()))
    adapted = kind.adapted_base("cpu")
    prompts = torch.tensor([kind.build_start()[0].encode_prompt(["at(player, attic)\n> look\n"])[0]])
    plain = AutoModelForCausalLM.from_pretrained(gemma.output_dir / "base").eval()
    assert (adapted.eval()(prompts).logits - plain(prompts).logits).abs().max() < 1e-5
    history = json.loads((stage_folder(gemma, "grpo") / "history.json").read_text())["log_history"]
    assert next(entry["kl"] for entry in history if "kl" in entry) == pytest.approx(0, abs=1e-6)
    rlvr = load_file(gemma.output_dir / "rlvr" / "model.safetensors")
    rank = kind.settings("pretrain").lora_rank
    for name, weights in rlvr.items():
        change = weights - start[name].float()
        assert torch.linalg.matrix_rank(change, rtol=1e-3) <= rank if change.ndim == 2 else not change.any(), name
    assert any(not torch.equal(base[name], start[name].float()) for name in base)


def test_losses_are_logged_in_nats_an_answer(gemma: Recipe) -> None:
    history = json.loads((stage_folder(gemma, "pretrain") / "history.json").read_text())["log_history"]
    measured = [entry for entry in history if "eval_nats_per_answer" in entry]
    assert len(measured) == 2 and all(entry["eval_nats_per_answer"] > entry["eval_loss"] for entry in measured)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pretrain.lora_rank": 0}, "grpo.continue_adapter: expected an adapter that pretrain trains"),
        ({"grpo.lora_rank": 2}, "grpo.continue_adapter: expected an adapter that pretrain trains"),
        ({"evaluate.few_shot": -1}, "evaluate.few_shot: expected 0 or more, got -1"),
        ({"evaluate.further_rows": {"rlvr": "textworld-base"}}, r"other names than those of a run's own rows, got"),
        ({"evaluate.further_rows": {"nearest": "textworld-base"}}, r"other names than those of a run's own rows, got"),
        ({"evaluate.further_rows": {"scratch": "no-such-model"}}, r"evaluate.further_rows.scratch: expected a world"),
    ],
)
def test_settings_that_do_not_fit_a_language_model_are_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises((FileNotFoundError, ValueError), match=told):
        try_stages(recipe := load_recipe("textworld/gemma_debug", overrides=change), [*recipe.sections])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pretrain.trim_vocabulary": True}, "pretrain.trim_vocabulary: expected false without a language model"),
        ({"evaluate.few_shot": 2}, "evaluate.few_shot: expected 0 without a language model"),
        ({"grpo.continue_adapter": True}, "grpo.continue_adapter: expected an adapter"),
        ({"pretrain.reasons": -1}, "pretrain.reasons: expected 0 or more, got -1"),
        ({"control.answers_alone": True}, "control.answers_alone: expected false where pretrain learns no reasons"),
        ({"evaluate.replaced_reasons": ["rlvr"]}, "evaluate.replaced_reasons: expected none where pretrain learns no"),
        ({"evaluate.replaced_reasons": ["best"], "pretrain.reasons": 4}, "evaluate.replaced_reasons: .*'best'"),
    ],
)
def test_a_policy_from_scratch_takes_none_of_it(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        try_stages(recipe := load_recipe("textworld/debug", overrides=change), [*recipe.sections])


@pytest.fixture
def language_model(tmp_path: Path) -> Path:
    """A plain language model as the Hub has them: bfloat16, embeddings tied, its weights in several files."""
    tokenizer = text_tokenizer()
    folder = tmp_path / "language"
    tiny_language_model(tokenizer).bfloat16().save_pretrained(folder, max_shard_size="20kB")
    tokenizer.save_pretrained(str(folder))
    assert len(list(folder.glob("model-*.safetensors"))) > 1 and (folder / "model.safetensors.index.json").is_file()
    return folder


def from_language_model(folder: Path, start: str) -> Any:
    recipe = small_text_recipe(folder / "run", **{"pretrain.start_from": start, "tokenizer.source": start})
    kind = kind_of(recipe)
    try_stages(recipe, ["pretrain"])
    return kind.build_policy(kind.build_processor())


def test_training_starts_from_a_plain_language_model(language_model: Path, tmp_path: Path) -> None:
    model = from_language_model(tmp_path, str(language_model))
    expected = AutoModelForCausalLM.from_pretrained(language_model)
    assert expected.dtype == torch.bfloat16 and not (tmp_path / "run").exists()
    assert model.dtype == torch.float32, "updates are too small for what is trained in bfloat16"
    assert all(
        torch.equal(weights.float(), model.state_dict()[name]) for name, weights in expected.state_dict().items()
    )


@pytest.mark.parametrize(("bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_what_an_adapter_leaves_alone_is_cast_once(
    language_model: Path, tmp_path: Path, bf16: bool, dtype: torch.dtype
) -> None:
    start = {"pretrain.start_from": str(language_model), "tokenizer.source": str(language_model)}
    recipe = small_text_recipe(tmp_path / "run", **start, **{"pretrain.lora_rank": 2, "pretrain.bf16": bf16})
    kind = kind_of(recipe)
    processor, model = kind.build_start()
    adapted = get_peft_model(model, kind.settings("pretrain").adapter())
    dtypes = {name.rpartition("lora_")[1]: weights.dtype for name, weights in adapted.named_parameters()}
    assert dtypes == {"": dtype, "lora_": torch.float32}


def test_examples_are_shown_to_it_where_the_checkpoints_are(
    language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = {"pretrain.start_from": str(language_model), "tokenizer.source": str(language_model)}
    kind, met = kind_of(small_text_recipe(tmp_path / "run", **start)), []
    monkeypatch.setattr(kind, "stored", lambda split: [])
    monkeypatch.setattr(
        text_kind, "answer_few_shot", lambda model, *_, **__: met.append(model.device.type) or ["open"]
    )
    asked = dataclasses.replace(kind.settings("evaluate"), few_shot=2)
    assert kind._given(asked, [], torch.device("meta")) == {text_kind.FEW_SHOT: ["open"]}
    assert met == ["meta"]


def test_examples_that_cannot_be_shown_are_refused_before_training(
    cache: Path, language_model: Path, tmp_path: Path
) -> None:
    """Of texts and their number, as soon as transitions are collected; of conversations, before that."""
    start = {"pretrain.start_from": str(language_model), "tokenizer.source": str(language_model)}
    # Games of their own, which no other test has collected.
    keys = {**start, "evaluate.few_shot": 1000, "collect.first_seed": 70}
    recipe = small_text_recipe(tmp_path / "run", **keys)
    try_stages(recipe, ["evaluate"])
    with pytest.raises(ValueError, match=r"evaluate.few_shot: expected at most \d+ examples.*got 1000"):
        find_stage("pretrain")(recipe)
    assert not (recipe.output_dir / "base").exists()
    with pytest.raises(ValueError, match=r"evaluate.few_shot: expected at most \d+ examples.*got 1000"):
        try_stages(small_text_recipe(tmp_path / "other", **keys), ["evaluate"])
    try_stages(small_text_recipe(tmp_path / "run", **keys | {"evaluate.few_shot": 2}), ["evaluate"])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("bytesized32/gemma_binary", {"collect.compact": False, "collect.folder": "."}),
        ("bytesized32_hub/sft", {"collect.folder": "."}),
        ("webarena/grpo", {"collect.folder": "."}),
    ],
)
def test_no_examples_are_shown_in_conversations(
    language_model: Path, name: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = {"pretrain.start_from": str(language_model), "tokenizer.source": str(language_model)}
    kind = kind_of(load_recipe(name, overrides={**start, **changes}))
    monkeypatch.setattr(kind, "folder", lambda split: Path("nowhere"))
    with pytest.raises(ValueError, match="evaluate.few_shot: expected prompts that are texts, got conversations"):
        kind.try_few_shot(2)
    if "collect.compact" in changes:
        kind = kind_of(load_recipe(name, overrides={**start, **changes, "collect.compact": True}))
        monkeypatch.setattr(kind, "folder", lambda split: Path("nowhere"))
        kind.try_few_shot(2)


def test_a_vocabulary_is_cut_anew_where_texts_are_written_in_another_way(
    language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a later version's `PROMPT_TEMPLATE`, with all settings as before."""
    start = {"pretrain.start_from": str(language_model), "tokenizer.source": str(language_model)}
    recipe = small_text_recipe(tmp_path / "run", **start, **{"pretrain.trim_vocabulary": True})
    monkeypatch.setattr(text_kind, "cached", lambda kind, name, build: Path(name))

    def name_of(template: str, answer: str = "open") -> Path:
        kind, row = kind_of(recipe), {"prompt": template.format("shut"), "completion": answer, "group": "g"}
        monkeypatch.setattr(kind, "stored", lambda split: datasets.Dataset.from_list([row]))
        return kind.trimmed()

    assert name_of("{}\n> open\n") == name_of("{}\n> open\n")
    assert len({name_of("{}\n> open\n"), name_of("state: {}\n> open\n"), name_of("{}\n> open\n", "shut")}) == 3


def test_training_starts_from_a_language_model_of_the_hub(hub: Any, language_model: Path, tmp_path: Path) -> None:
    hub.repositories["model", "someone/language"] = Repository()
    files = {file.name: file.read_bytes() for file in language_model.iterdir()}
    hub.repositories["model", "someone/language"].commit(files)
    model = from_language_model(tmp_path, "someone/language")
    expected = AutoModelForCausalLM.from_pretrained(language_model).float()
    assert all(torch.equal(weights, model.state_dict()[name]) for name, weights in expected.state_dict().items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda weights: weights.update(other=weights.pop("model.norm.weight")),
            r"1 missing \(model.norm.weight\); 1 superfluous \(other\)",
        ),
        (
            lambda weights: weights.pop("model.norm.weight"),
            r"that its config.json declares, \d+ numbers, got files of",
        ),
        (lambda weights: weights.update(other=torch.zeros(1)), r"1 superfluous \(other\)"),
        (lambda weights: weights["model.norm.weight"].fill_(torch.nan), r"finite weights .*\(model.norm.weight\)"),
    ],
)
def test_a_language_model_that_is_not_whole_is_no_start(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], Any], words: str
) -> None:
    tokenizer = text_tokenizer()
    tiny_language_model(tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(str(tmp_path))
    weights = load_file(tmp_path / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=words):
        from_language_model(tmp_path, str(tmp_path))


def test_stages_name_what_text_takes() -> None:
    with pytest.raises(ValueError, match="vocab_size"):
        find_stage("tokenizer").read(load_recipe("textworld/debug", overrides={"tokenizer.vocab_sise": 300}))


class RecordedSplits:
    """A source of recorded transitions, fifty in each split."""

    def read(self) -> dict[str, list[Transition]]:
        return {split: [transition(f"{split}/{number}") for number in range(50)] for split in SPLITS}


def transition(name: str) -> Transition:
    texts = {"prompt": "p", "answer": "a", "state": "s", "action": "a", "next_state": "n"}
    return Transition(transition_id=name, group="g", is_changed=True, **texts)


def write_recorded(folder: Path, **counts: float) -> dict[str, list[str]]:
    recipe = load_recipe("textworld/debug", overrides={f"collect.{split}": count for split, count in counts.items()})
    kind_of(recipe).write_recorded(RecordedSplits(), folder)
    return {split: datasets.load_from_disk(str(folder / split))["transition_id"][:] for split in SPLITS}


def test_a_share_of_recorded_transitions_is_a_share(tmp_path: Path) -> None:
    taken = write_recorded(tmp_path, train=0, validation=0.1, test=7)
    assert {split: len(names) for split, names in taken.items()} == {"train": 50, "validation": 5, "test": 7}
    assert taken["validation"] == [f"validation/{number}" for number in (0, 10, 20, 30, 40)]
    assert len(write_recorded(tmp_path / "least", train=1, validation=0.001, test=0)["validation"]) == 1


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (1.5, r"a share in \(0, 1\), or a whole number of 0 or more, got 1.5"),
        (-0.1, r"a share in \(0, 1\), or a whole number of 0 or more, got -0.1"),
        (51, "at most the 50 recorded transitions of this split, got 51"),
    ],
)
def test_what_is_no_share_of_recorded_transitions_is_refused(tmp_path: Path, share: float, told: str) -> None:
    with pytest.raises(UnusableEpisodesError, match=f"collect.validation: expected {told}"):
        write_recorded(tmp_path, train=0, validation=share, test=0)
    assert not list(tmp_path.iterdir()), "nothing is written before all is checked"


@pytest.mark.browser
def test_pages_go_through_all_stages(cache: Path, tmp_path: Path) -> None:
    changes = {name: value for name, value in SMALL_TEXT.items() if "length" not in name}
    recipe = load_recipe("webpages/debug", overrides={**changes, "output_dir": str(tmp_path / "run")})
    run(recipe)
    rows = read_results(recipe.output_dir / "results.json")["rows"]
    assert rows["oracle"]["page_change_f1"]["mean"] == 1.0 and "rlvr" in rows
