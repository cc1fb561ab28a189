import pytest

from rlvr_world_hf.runs.world import world_source


@pytest.mark.parametrize("world", ["../../etc/passwd", "..", "", "/etc/passwd", "a world", "os.path"])
def test_what_cannot_be_a_world_fails_saying_what_can(world, small_recipe, tmp_path):
    with pytest.raises(ValueError, match="world: expected the name of a world"):
        world_source(small_recipe(tmp_path, world=world))


def test_an_unknown_world_fails_and_an_imported_one_is_found(small_recipe, tmp_path):
    with pytest.raises(ValueError, match="pusht2"):
        world_source(small_recipe(tmp_path, world="pusht2"))
    assert (
        world_source(small_recipe(tmp_path, world="rlvr_world_hf.worlds.pusht.simulator")).__name__
        == "collect_episodes"
    )
