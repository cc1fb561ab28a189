from itertools import combinations

from rlvr_world_hf.findings.attempts import FIRST_START
from rlvr_world_hf.runs.kinds.kind import SPLITS
from rlvr_world_hf.runs.locations import recipe_names
from rlvr_world_hf.runs.recipe import load_recipe
from rlvr_world_hf.runs.stage import find_stage
from rlvr_world_hf.worlds.pusht.judging import FIRST_SEED
from rlvr_world_hf.worlds.pusht.seeds import SEEDS


def test_no_two_parts_share_a_seed() -> None:
    for (first, seeds), (second, others) in combinations(SEEDS.items(), 2):
        assert seeds.stop <= others.start or others.stop <= seeds.start, (first, second)
    assert {"base", "inverse_model", "judge", "validation", "test"} <= set(SEEDS)


def test_every_part_has_validation_and_test_episodes_of_its_own() -> None:
    for part in ("base", "inverse_model", "judge"):
        for split in ("validation", "test"):
            for seed in (SEEDS[part].start, SEEDS[part].stop - 1):
                assert seed + SPLITS[split] in SEEDS[split]


def test_recipes_train_on_seeds_of_their_part_and_findings_start_from_others() -> None:
    recipes = [load_recipe(name) for name in recipe_names() if name.startswith("pusht/")]
    assert len(recipes) >= 10
    for recipe in recipes:
        settings = find_stage("collect").read(recipe)
        seeds = range(settings.first_seed, settings.first_seed + settings.train)
        part = "inverse_model" if "inverse" in recipe.sections else "base"
        assert {seeds.start, seeds.stop - 1} <= {*SEEDS[part]}, recipe.name
    assert FIRST_START in SEEDS["applications"] and FIRST_SEED in SEEDS["applications"]
