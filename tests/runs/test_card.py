import dataclasses
import json
import shutil

import yaml

from rlvr_world_hf.runs import card
from rlvr_world_hf.runs.card import EVAL_RESULTS, about_world, hub_dataset, write_card
from rlvr_world_hf.runs.locations import recipe_names
from rlvr_world_hf.runs.recipe import load_recipe


def test_the_card_holds_table_picture_and_the_complete_recipe(whole_run, tmp_path):
    text = (whole_run.output_dir / "README.md").read_text()
    assert "| copy_last |" in text
    assert "(strip.png)" in text and "(learning_curves.png)" in text
    recipe = text.split("```yaml\n")[1].split("```")[0]
    again = tmp_path / "again.yaml"
    again.write_text(recipe)
    assert load_recipe(again).sections == whole_run.sections
    assert yaml.safe_load(text.split("---")[1])["library_name"] == "rlvr_world_hf"


def test_the_card_of_what_ships_loads_it_by_its_name(whole_run, tmp_path, monkeypatch):
    written = (whole_run.output_dir / "README.md").read_text()
    assert 'from_pretrained("outputs/' in written
    monkeypatch.setattr(card, "shipped_folder", lambda name: tmp_path / name)
    folder = tmp_path / "model_cards" / "pusht"
    folder.mkdir(parents=True)
    shutil.copyfile(whole_run.output_dir / "results.json", folder / "results.json")
    results, checkpoint = folder / "results.json", whole_run.output_dir / "rlvr"
    (written,) = write_card(whole_run, checkpoint=checkpoint, results=results, folder=folder)
    text = written.read_text()
    assert 'from_pretrained("pusht-rlvr")' in text


def test_no_card_speaks_of_another_world():
    about = {recipe.world: about_world(recipe) for recipe in map(load_recipe, recipe_names())}
    assert len(about) > 5
    for world, told in about.items():
        assert set(told) == {"world", "data"} and all(told.values())
        assert told["world"] != world, "each world of the library has a name of its own"
        assert ("PushT" in told["world"]) == (world in ("pusht", "own_states"))


def test_a_start_that_a_recipe_takes_back_is_none():
    assert card._base_model(load_recipe("pusht/debug", overrides={"pretrain.start_from": None})) is None


def test_a_dataset_of_the_hub_and_the_model_it_starts_from_are_named(whole_run, tmp_path, monkeypatch):
    results = (whole_run.output_dir / "results.json").read_text()
    (tmp_path / "results.json").write_text(results)
    monkeypatch.setattr(card, "hub_dataset", lambda recipe: "owner/pushes")
    sections = {**whole_run.sections, "pretrain": {"start_from": "owner/base"}}
    recipe = dataclasses.replace(whole_run, sections=sections)
    checkpoint = whole_run.output_dir / "rlvr"
    files = write_card(recipe, checkpoint=checkpoint, results=tmp_path / "results.json", folder=tmp_path)
    assert files == [tmp_path / "README.md", tmp_path / EVAL_RESULTS]
    text = files[0].read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert (head["datasets"], head["base_model"]) == (["owner/pushes"], "owner/base")
    (entry, *_) = yaml.safe_load((tmp_path / EVAL_RESULTS / "pushes.yaml").read_text())
    rewarded = json.loads(results)["rewarded"][0]
    assert entry["dataset"] == {"id": "owner/pushes", "task_id": rewarded}
    assert entry["value"] == json.loads(results)["rows"]["rlvr"][rewarded]["mean"]


def test_no_eval_results_of_data_that_are_not_on_the_hub(whole_run):
    assert hub_dataset(whole_run) is None
    assert not (whole_run.output_dir / EVAL_RESULTS).exists()


def test_the_dataset_of_a_recipe_is_that_of_the_hub():
    assert hub_dataset(load_recipe("webarena/grpo")) == "thuml/webarena-world-model-cot"
    assert hub_dataset(load_recipe("webarena/grpo", overrides={"collect.folder": "pages"})) is None
