"""The debug recipe, as small as it gets, run once through all stages for all tests of this room."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlvr_world_hf.commands.recipe import Recipe, load_recipe
from rlvr_world_hf.commands.run import run


SMALL = {
    "collect.train": 2,
    "collect.validation": 1,
    "collect.test": 1,
    "collect.length": 8,
    "tokenizer.max_steps": 4,
    "tokenizer.save_steps": 2,
    "pretrain.max_steps": 4,
    "pretrain.eval_steps": 2,
    "grpo.max_steps": 4,
    "grpo.save_steps": 2,
    "grpo.logging_steps": 1,
    "control.max_steps": 4,
    "evaluate.windows": 2,
    "evaluate.validation_windows": 2,
    "predict.examples": 1,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:  # a command turns bars on that the tests keep off
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:Cannot enable progress bars:UserWarning"))


@pytest.fixture(scope="session")
def small_recipe() -> Callable[..., Recipe]:
    """Makes the debug recipe with four updates a stage."""

    def make(folder: Path, **overrides: object) -> Recipe:
        return load_recipe("pusht/debug", overrides={**SMALL, "output_dir": str(folder), **overrides})

    return make


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("RLVR_WORLD_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def whole_run(cache: Path, small_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The recipe of a finished run."""
    recipe = small_recipe(tmp_path_factory.mktemp("whole"))
    run(recipe)
    return recipe
