from rlvr_world_hf.runs.kinds import StepBlockKind, TextKind, kind_of
from rlvr_world_hf.runs.kinds.kind import SPLITS
from rlvr_world_hf.runs.recipe import load_recipe


def test_a_recipe_has_the_kind_of_its_world():
    kinds = {name: type(kind_of(load_recipe(name))) for name in ("pusht/debug", "pendulum/debug", "textworld/debug")}
    assert kinds == {"pusht/debug": StepBlockKind, "pendulum/debug": StepBlockKind, "textworld/debug": TextKind}


def test_splits_share_no_episode(whole_run):
    names = [episode.episode_id for split in SPLITS for episode in kind_of(whole_run).stored(split)]
    assert len(names) == len(set(names)) == 4


def test_rows_are_cut_as_the_recipe_says(whole_run):
    rows = kind_of(whole_run).rows("train")
    assert rows[0]["reference"].shape == (2, 3, 16, 16)
    chosen = kind_of(whole_run).rows("train", count=3)
    assert [row["episode"] for row in chosen] == [rows[index]["episode"] for index in (0, 4, 8)]
