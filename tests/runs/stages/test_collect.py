import pytest

from rlvr_world_hf.runs.stages import collect as collect_module
from rlvr_world_hf.runs.stages.collect import SPLITS, collect, load_split, split_rows, world_source


def test_splits_share_no_episode(whole_run):
    names = [episode.episode_id for split in SPLITS for episode in load_split(whole_run, split)]
    assert len(names) == len(set(names)) == 4


def test_rows_are_cut_as_the_recipe_says(whole_run):
    rows = split_rows(whole_run, "train")
    assert rows[0]["reference"].shape == (2, 3, 16, 16)
    chosen = split_rows(whole_run, "train", count=3)
    assert [row["episode"] for row in chosen] == [rows[index]["episode"] for index in (0, 4, 8)]


def test_another_output_folder_and_seed_take_the_episodes_from_the_cache(
    whole_run, small_recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(collect_module, "save_episodes", None)
    folder = collect(small_recipe(tmp_path, seed=5))
    assert (folder / "done.json").exists()


def test_an_interrupted_collection_leaves_nothing_behind(small_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("RLVR_WORLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(collect_module, "save_episodes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        collect(small_recipe(tmp_path / "out"))
    assert not list((tmp_path / "cache" / "episodes").iterdir())


def test_an_unknown_world_fails_and_an_imported_one_is_found(small_recipe, tmp_path):
    with pytest.raises(ValueError, match="pusht2"):
        world_source(small_recipe(tmp_path, world="pusht2"))
    assert (
        world_source(small_recipe(tmp_path, world="rlvr_world_hf.worlds.pusht.simulator")).__name__
        == "collect_episodes"
    )
