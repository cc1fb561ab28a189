import json
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from rlvr_world_hf import (
    CompressiveTokenizer,
    FrameTokenizer,
    LanguageWorldModelProcessor,
    SensorWorldModelProcessor,
    VideoWorldModelProcessor,
    WorldModelPipeline,
)
from rlvr_world_hf.evaluation.results import make_results, read_results
from rlvr_world_hf.evaluation.table import group_table, markdown_table
from rlvr_world_hf.findings.ladder import ladder_table
from rlvr_world_hf.hub.cards import CITATION, NOT_EVALUATED, CardResults, CardSubject, card_text, eval_results_text
from rlvr_world_hf.hub.checkpoint import save_world_model
from tests.tiny import (
    text_tokenizer,
    tiny_joint_processor,
    tiny_language_model,
    tiny_model,
    tiny_processor,
    tiny_sensor_processor,
)


MODEL_CARDS = Path(__file__).resolve().parents[2] / "model_cards"
PROCESSOR = tiny_processor()


def about(**changes) -> CardSubject:
    return CardSubject(**{"name": "world", "world": "PushT", "data": "Recorded episodes.", "horizon": 3} | changes)


def measured(results) -> CardResults:
    return CardResults(results=results, table=markdown_table(results))


@pytest.fixture
def results():
    return make_results(
        {row: {"mae": [0.014, 0.015], "psnr": [28.0, 29.0]} for row in ("base", "control", "rlvr")},
        recipe="pusht/quickstart",
        samples=8,
        training_seed=0,
        sampling_seeds=[0, 1],
        rewarded=["mae"],
        higher_is_better={"mae": False, "psnr": True},
    )


def test_metadata_is_what_the_hub_reads(results):
    text = card_text(PROCESSOR, about(), measured=measured(results))
    data = ModelCard(text).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "rlvr_world_hf", "image-to-video")
    assert {"world-model", "rlvr", "pusht"} <= set(data.tags)
    assert data.metrics == ["mae", "psnr"]
    assert {result.metric_type: result.metric_value for result in data.eval_results} == pytest.approx(
        {"mae": 0.0145, "psnr": 28.5}
    )
    assert data.model_name == "world"


def test_card_has_its_sections_table_and_recipe(results):
    table = markdown_table(results)
    recipe = {"seed": 0, "grpo": {"learning_rate": 2e-4, "rewards": [{"path": "rlvr_world_hf.rewards.MAEReward"}]}}
    pictures = {"picture": "strip.png", "curves": "curves.png"}
    text = card_text(PROCESSOR, about(), measured=measured(results), recipe=recipe, **pictures)
    sections = re.findall("^## (.*)$", text, flags=re.MULTILINE)
    assert sections == ["How to use", "How it was trained", "Results", "Limits", "Data", "Citation"]
    for part in (
        table.strip(),
        "learning_rate: 0.0002",
        "(strip.png)",
        "![Learning curves of base, control and RL](curves.png)",
        "2505.13934",
        "16x16 pixels at 2 frames a second",
    ):
        assert part in text
    assert "control" in text


def test_card_of_a_world_whose_law_was_drawn_from_says_what_the_row_is(results):
    assert "law of the world" not in card_text(PROCESSOR, about(), measured=measured(results))
    results["rows"]["law"] = results["rows"]["base"]
    assert "`law` is drawn from the law of the world" in card_text(PROCESSOR, about(), measured=measured(results))


def test_card_of_single_step_prediction_from_a_history(results):
    codec = FrameTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    processor = VideoWorldModelProcessor.from_codec(codec, [0.0], [1.0], action_bins=8, observed_steps=3)
    text = card_text(processor, about(horizon=1), measured=measured(results))
    assert "given 3 observed steps of 16x16 pixels and the actions" in text
    assert "frames = np.full((3, 16, 16, 3)" in text and "np.tile([0.5], (4, 1))" in text
    assert "your actions, from the first observed step on" in text
    assert {result.task_name for result in ModelCard(text).data.eval_results} == {"Single-step video prediction"}


def test_card_without_results_says_so():
    text = card_text(PROCESSOR, about())
    assert NOT_EVALUATED in text
    assert ModelCard(text).data.eval_results is None


def test_the_row_of_the_checkpoint_was_measured(results):
    with pytest.raises(ValueError, match="no row 'best'.*'control', 'rlvr'"):
        CardResults(results=results, table="| |", row="best")


def test_the_numbers_in_the_head_are_of_the_row_asked_for(results):
    results["rows"]["base"] = {"mae": {"mean": 0.5, "std": 0.0, "values": [0.5, 0.5]}}
    text = card_text(PROCESSOR, about(), measured=CardResults(results=results, table="| |", row="base"))
    assert [(result.metric_type, result.metric_value) for result in ModelCard(text).data.eval_results] == [
        ("mae", 0.5)
    ]


def test_code_of_the_card_runs(tmp_path):
    folder = save_world_model(tmp_path / "world", tiny_model(PROCESSOR), PROCESSOR)
    text = card_text(PROCESSOR, about(repo_id=str(folder)))
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names = {}
    exec(code[1], names)
    assert names["predicted"].shape == (4, 3, 3, 16, 16)


def test_card_of_sensors_speaks_of_states(results):
    text = card_text(tiny_sensor_processor(), about(world="Pendulum"), measured=measured(results))
    assert "world model of Pendulum: given 1 observed step of 3 sensors at 2 steps a second" in text
    assert "writes 3 of them a step" in text and "frames" not in text.split("## Limits")[1].split("## Data")[0]
    data = ModelCard(text).data
    assert data.pipeline_tag == "time-series-forecasting" and "video-prediction" not in data.tags
    assert {result.task_name for result in data.eval_results} == {"Multi-step state prediction"}


@pytest.mark.parametrize("make", [tiny_sensor_processor, tiny_joint_processor])
def test_code_of_the_card_with_sensors_runs(tmp_path, make):
    processor = make()
    folder = save_world_model(tmp_path / "world", tiny_model(processor), processor)
    text = card_text(processor, about(repo_id=str(folder)))
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict = {}
    exec(code[1], names)
    states = names["predicted"] if make is tiny_sensor_processor else names["predicted"]["predicted_states"]
    assert states.shape == (4, 3, 3)


def test_card_says_with_what_it_was_measured_and_whose_data_it_saw(results):
    text = card_text(PROCESSOR, about(), measured=measured(results))
    training = text.split("## How it was trained")[1].split("## Results")[0]
    assert results["machine"] in training and f"torch {results['versions']['torch']}" in training
    assert "keeps its own" in text.split("## Data")[1]
    assert "Measured on" not in card_text(PROCESSOR, about())


def test_further_metadata_goes_into_the_head():
    text = card_text(PROCESSOR, about(datasets=["a/rows"], base_model="a/base", tags=["trl", "grpo"]))
    data = ModelCard(text).data
    assert (data.datasets, data.base_model) == (["a/rows"], "a/base")
    assert data.tags.count("grpo") == 1 and data.tags[-1] == "trl"


def test_what_is_told_of_a_card_is_no_template():
    text = card_text(PROCESSOR, about(data="{{ secret }} {% if x %} <b>&"))
    assert "{{ secret }} {% if x %} <b>&" in text


def test_eval_results_are_what_the_hub_reads(results):
    text = eval_results_text(results, dataset="a/pusht")
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("a/pusht", "mae", pytest.approx(0.0145))
    assert "recipe pusht/quickstart" in entry.notes and results["commit"] in entry.notes
    assert len(yaml.safe_load(eval_results_text(results, dataset="a/pusht", row="base", metrics=["mae", "psnr"]))) == 2


def test_eval_results_need_a_dataset_and_a_measured_metric(results):
    with pytest.raises(ValueError, match="owner/name.*push it first"):
        eval_results_text(results, dataset="pusht")
    with pytest.raises(ValueError, match=r"no \['lpips'\] in row 'rlvr'"):
        eval_results_text(results, dataset="a/pusht", metrics=["lpips"])
    with pytest.raises(ValueError, match="no metric in row 'best'"):
        eval_results_text(results, dataset="a/pusht", row="best")


def test_committed_cards_tell_their_committed_results(repository):
    cards = [path.parent for path in sorted((repository / "model_cards").glob("*/results.json"))]
    of_parts = ("pusht-base", "pusht-codec")  # written by hand
    cards = [folder for folder in cards if folder.name not in of_parts]
    assert len(cards) >= 7
    for folder in cards:
        card, results = ModelCard.load(folder / "README.md"), read_results(folder / "results.json")
        told = {result.metric_type: result.metric_value for result in card.data.eval_results}
        assert told == {name: summary["mean"] for name, summary in results["rows"]["rlvr"].items()}, folder.name
        assert markdown_table(results).strip() in card.text and group_table(results).strip() in card.text, folder.name
        assert results["machine"] in card.text and CITATION in card.text, folder.name
        headings = set(re.findall("^## (.*)$", card.text, flags=re.MULTILINE)) - {"Examples"}
        assert headings == {"How to use", "How it was trained", "Results", "Limits", "Data", "Citation"}, folder.name


def test_card_of_the_base_that_ships_has_its_tables(repository):
    folder = repository / "model_cards" / "pusht-base"
    card, ladder = (folder / "README.md").read_text(), json.loads((folder / "ladder.json").read_text())
    assert markdown_table(read_results(folder / "results.json")).strip() in card
    assert ladder_table(ladder).strip() in card and not ladder["commit"].endswith("-dirty")


def untrained_pipeline(state, actions, states):
    """A model of random weights that takes inputs of these shapes."""
    if actions is None or isinstance(actions, str):
        template = "{state}\n> {action}\n" if actions else None
        processor = LanguageWorldModelProcessor(text_tokenizer(), prompt_template=template)
        return WorldModelPipeline(tiny_language_model(processor.tokenizer), processor)
    given, *size = state.shape
    ranges = {"action_low": [0.0] * actions.shape[1], "action_high": [1.0] * actions.shape[1], "action_bins": 8}
    if len(size) == 1:
        low, high = [-1.0] * size[0], [1.0] * size[0]
        processor = SensorWorldModelProcessor.from_ranges(low, high, **ranges, sensor_bins=16, observed_steps=given)
    else:
        codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=tuple(size[:2]))
        if states is not None:
            dims = states.shape[1]
            ranges |= {"state_low": [0.0] * dims, "state_high": [512.0] * dims, "sensor_bins": 16}
        processor = VideoWorldModelProcessor.from_codec(codec, **ranges, observed_steps=given - 1)
    return WorldModelPipeline(tiny_model(processor), processor)


@pytest.mark.parametrize("path", sorted(MODEL_CARDS.glob("*/README.md")), ids=lambda path: path.parent.name)
def test_code_of_a_committed_card_runs(path, monkeypatch):
    def predict(state, actions=None, **options):
        return untrained_pipeline(state, actions, options.get("states"))(state, actions, **options)

    monkeypatch.chdir(MODEL_CARDS.parent)
    monkeypatch.setattr(WorldModelPipeline, "from_pretrained", lambda *args, **kwargs: predict)
    (code,) = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict = {}
    exec(code, names)
    if "predicted" in names:
        shape = re.search(r"# (?:predicted )?(\([\d, ]+\))", code.splitlines()[-1])
        predicted = names["predicted"]
        frames = predicted["predicted"] if isinstance(predicted, dict) else predicted
        assert str(tuple(frames.shape)) == shape[1]
    elif "answers" in names:
        assert len(names["answers"]) == 4
    else:
        assert isinstance(names["codec"], CompressiveTokenizer)
