import pytest

from rlvr_world_hf.runs.world import world_source


def test_an_unknown_world_fails_and_an_imported_one_is_found(small_recipe, tmp_path):
    with pytest.raises(ValueError, match="pusht2"):
        world_source(small_recipe(tmp_path, world="pusht2"))
    assert (
        world_source(small_recipe(tmp_path, world="rlvr_world_hf.worlds.pusht.simulator")).__name__
        == "collect_episodes"
    )
