import shutil

import pytest

from rlvr_world_hf.evaluation.results import read_results, summarize, write_results
from rlvr_world_hf.runs import reproduce as reproduce_module
from rlvr_world_hf.runs.reproduce import readme_table, reproduce


@pytest.fixture
def copied_runs(whole_run, monkeypatch):
    """Takes a copy of the finished run for the run of every seed."""

    def copy(recipe):
        shutil.copytree(whole_run.output_dir, recipe.output_dir)
        results = read_results(recipe.output_dir / "results.json")
        write_results(results | {"training_seeds": [recipe.seed]}, recipe.output_dir / "results.json")
        return recipe.output_dir

    monkeypatch.setattr(reproduce_module, "run", copy)


@pytest.mark.parametrize("is_checkout", [True, False])
def test_seeds_are_merged_and_a_checkout_gets_the_card(copied_runs, small_recipe, tmp_path, monkeypatch, is_checkout):
    checkout = tmp_path / "checkout"
    (checkout / "model_cards").mkdir(parents=True)
    if is_checkout:
        (checkout / "pyproject.toml").touch()
        (checkout / "README.md").write_text("# All\n\n<!-- pusht -->\n<!-- end of pusht -->\n\nEnd.\n")
    monkeypatch.setattr(reproduce_module, "CHECKOUT", checkout)
    folder = reproduce(small_recipe(tmp_path / "out", card="pusht"))
    card = checkout / "model_cards" / "pusht"
    for place in [folder, card] if is_checkout else [folder]:
        results = read_results(place / "results.json")
        assert results["training_seeds"] == [0, 1, 2]
        assert len(results["rows"]["rlvr"]["mae"]["values"]) == 3
        assert all((place / name).exists() for name in ("README.md", "strip.png", "strip.gif", "learning_curves.png"))
    assert card.exists() == is_checkout
    if is_checkout:
        table = readme_table(read_results(card / "results.json"))
        assert table in (checkout / "README.md").read_text() and "| mae ↓ |" in table


def test_the_front_page_leaves_out_what_measures_the_same_as_base(repository):
    results = read_results(repository / "model_cards" / "pusht" / "results.json")
    base = results["rows"]["base"]
    better = base | {"mae": summarize([value / 2 for value in base["mae"]["values"]])}

    def shown(control):
        rows = {name: results["rows"][name] for name in ("copy_last", "base", "rlvr")} | {"control": control}
        lines = readme_table(results | {"rows": rows}).splitlines()
        return [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]

    assert shown(base) == ["row", "copy_last", "base", "rlvr"]
    assert shown(better) == ["row", "copy_last", "base", "rlvr", "control"]


def test_the_front_page_has_the_committed_results(repository):
    results = read_results(repository / "model_cards" / "pusht" / "results.json")
    assert (
        f"<!-- pusht -->\n\n{readme_table(results)}\n<!-- end of pusht -->" in (repository / "README.md").read_text()
    )
