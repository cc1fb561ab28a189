from pathlib import Path

import pytest

from rlvr_world_hf.hub import bundled
from rlvr_world_hf.runs import locations


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder whose recipes lie beside it, as in a checkout."""
    for file in ("trainers/recipes/pusht/quickstart.yaml", "trainers/recipes/pusht/debug.yaml"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("seed: 0\n")
    monkeypatch.setattr(bundled, "_PACKAGE", tmp_path / "rlvr_world_hf")
    return tmp_path


def test_recipe_is_found_by_name(shipped: Path) -> None:
    assert locations.recipe_names() == ["pusht/debug", "pusht/quickstart"]
    assert locations.recipe_path("pusht/debug") == shipped / "trainers/recipes/pusht/debug.yaml"


def test_recipe_of_ones_own_is_a_path(shipped: Path) -> None:
    own = shipped / "own.yaml"
    own.write_text("seed: 1\n")
    assert locations.recipe_path(str(own)) == own


def test_unknown_recipe_names_the_nearest(shipped: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"given 'pusht/quikstart'\. Did you mean 'pusht/quickstart'\?"):
        locations.recipe_path("pusht/quikstart")
    with pytest.raises(FileNotFoundError, match="Choose among pusht/debug, pusht/quickstart"):
        locations.recipe_path(str(shipped / "missing.yaml"))


def test_what_lies_inside_the_package_comes_first(shipped: Path) -> None:
    inside = shipped / "rlvr_world_hf" / "trainers" / "recipes" / "pusht"
    inside.mkdir(parents=True)
    (inside / "quickstart.yaml").touch()
    assert locations.recipe_path("pusht/quickstart") == inside / "quickstart.yaml"


def test_missing_folder_says_where_it_was_expected(shipped: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Reinstall the package"):
        locations.shipped_folder("spaces")
