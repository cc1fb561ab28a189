import pytest

from rlvr_world_hf.runs.kinds import step_blocks
from rlvr_world_hf.runs.stages.collect import collect


def test_another_output_folder_and_seed_take_the_episodes_from_the_cache(
    whole_run, small_recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(step_blocks, "save_episodes", None)
    folder = collect(small_recipe(tmp_path, seed=5))
    assert (folder / "done.json").exists()


def test_windows_longer_than_an_episode_are_refused_before_anything_is_recorded(small_recipe, tmp_path):
    collect.read(small_recipe(tmp_path, **{"windows.horizon": 7}))  # of 8 frames, one is given
    with pytest.raises(ValueError, match="windows.horizon: .*the 8 frames.* got 9: 8 to predict after 1 given"):
        collect.read(small_recipe(tmp_path, **{"windows.horizon": 8}))


def test_an_interrupted_collection_leaves_nothing_behind(small_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("RLVR_WORLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(step_blocks, "save_episodes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        collect(small_recipe(tmp_path / "out"))
    assert not list((tmp_path / "cache" / "episodes").iterdir())
