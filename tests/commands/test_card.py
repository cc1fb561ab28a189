import yaml

from rlvr_world_hf.commands.card import about_world
from rlvr_world_hf.commands.locations import recipe_names
from rlvr_world_hf.commands.recipe import load_recipe


def test_the_card_holds_table_picture_and_the_complete_recipe(whole_run, tmp_path):
    text = (whole_run.output_dir / "README.md").read_text()
    assert "| copy_last |" in text
    assert "(strip.png)" in text
    recipe = text.split("```yaml\n")[1].split("```")[0]
    again = tmp_path / "again.yaml"
    again.write_text(recipe)
    assert load_recipe(again).sections == whole_run.sections
    assert yaml.safe_load(text.split("---")[1])["library_name"] == "rlvr_world_hf"


def test_no_card_speaks_of_another_world():
    about = {recipe.world: about_world(recipe) for recipe in map(load_recipe, recipe_names())}
    assert len(about) > 5
    for world, told in about.items():
        assert set(told) == {"world", "data"} and all(told.values())
        assert told["world"] != world, "each world of the library has a name of its own"
        assert ("PushT" in told["world"]) == (world == "pusht")
