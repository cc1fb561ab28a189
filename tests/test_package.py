"""What an installed wheel holds: the library, its recipes, launch scripts, bundled checkpoints and pages."""

import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import pytest


LOOK_AROUND = """
import sys
import rlvr_world_hf
from rlvr_world_hf.hub.bundled import bundled_path, shipped_folder
from rlvr_world_hf.runs.locations import recipe_names, recipe_path
print(rlvr_world_hf.__file__)
print(recipe_path("pusht/quickstart"))
print(bundled_path("pusht-codec"))
print(shipped_folder("trainers"))
print(shipped_folder("spaces"))
print(",".join(recipe_names()))
"""


def python(code: str, *, cwd: Path) -> list[str]:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=cwd, env={"PYTHONPATH": str(cwd)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"

NO_NETWORK = """
import socket
import sys

def refuse(*arguments, **options):
    raise AssertionError(f"asked the network: {arguments}")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
"""

LOOK_BACK = """
import rlvr_world_hf
print(rlvr_world_hf.__file__)
print(world.model.name_or_path)
print(tuple(futures.shape))
print([name for name in ("cv2", "gym_pusht") if name in sys.modules])
"""


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(repository)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Path:
    """A folder that holds what `pip install` of the wheel would put into site-packages."""
    zipfile.ZipFile(wheel).extractall(wheel.parent / "site")
    return wheel.parent / "site"


def test_wheel_holds_what_the_checkout_holds(unpacked: Path, repository: Path) -> None:
    patterns = ("trainers/recipes/*/*.yaml", "trainers/*.py", "model_cards/**/*.safetensors", "model_cards/**/*.json")
    patterns += ("model_cards/*/example.npz", "spaces/*/*.*")
    expected = {path.relative_to(repository) for pattern in patterns for path in repository.glob(pattern)}
    assert not {path for path in expected if not (unpacked / "rlvr_world_hf" / path).is_file()}
    assert (unpacked / "rlvr_world_hf" / "py.typed").is_file()
    assert (unpacked / "rlvr_world_hf" / "hub" / "model_card_template.md").is_file()
    assert not [name for name in ("tests", "trainers", "spaces") if (unpacked / name).exists()]


def test_wheel_finds_its_own_files(unpacked: Path, repository: Path) -> None:
    *places, names = python(LOOK_AROUND, cwd=unpacked)
    assert all(Path(place).is_relative_to(unpacked) for place in places), places
    recipes = (repository / "trainers" / "recipes").glob("*/*.yaml")
    assert names.split(",") == sorted(f"{path.parent.name}/{path.stem}" for path in recipes)


@pytest.mark.slow
def test_five_lines_of_the_front_page_run_right_after_an_installation(
    wheel: Path, repository: Path, tmp_path: Path
) -> None:
    """In an environment of its own and another folder, without network; the dependencies are those of this one."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    installed = tmp_path / "venv" / "bin" / "python"
    pip = [str(installed), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True, cwd=tmp_path)
    site = Path(subprocess.check_output([installed, "-c", SITE], text=True).strip())
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    readme = (repository / "README.md").read_text(encoding="utf-8")
    lines = readme.split("```python\n")[1].split("```")[0]
    (tmp_path / "elsewhere").mkdir()
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty"), "HOME": str(tmp_path)}
    command = [str(installed), "-c", NO_NETWORK + lines + LOOK_BACK]
    done = subprocess.run(
        command, cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    library, checkpoint, shape, imported = done.stdout.splitlines()
    assert Path(library).is_relative_to(site) and Path(checkpoint).is_relative_to(site)
    assert shape == "(4, 4, 3, 64, 64)" and imported == "[]"
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["futures.png"]


def test_wheel_offers_the_command_and_its_licence(unpacked: Path) -> None:
    (information,) = unpacked.glob("*.dist-info")
    assert "rlvr-world = rlvr_world_hf.commands.cli:main" in (information / "entry_points.txt").read_text()
    assert {path.name for path in (information / "licenses").iterdir()} == {"LICENSE", "NOTICE"}


def test_bundled_checkpoints_are_small(repository: Path) -> None:
    weights = list((repository / "model_cards").rglob("*.safetensors"))
    assert weights
    assert all(path.stat().st_size <= 6_000_000 for path in weights)


def test_every_dependency_is_bounded(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    listed = [
        *project["dependencies"],
        *(item for extra in project["optional-dependencies"].values() for item in extra),
    ]
    assert not [item for item in listed if ">=" not in item or "<" not in item]


def test_lock_names_no_place(repository: Path) -> None:
    lock = (repository / "requirements.lock").read_text()
    assert not [line for line in lock.splitlines() if "://" in line or "file:" in line or line.startswith("-")]
    assert "\nopencv-python-headless==" in lock
    assert "\nopencv-python==" not in lock, "the Qt build wants libraries of the system"
    assert not (repository / "uv.lock").exists(), "uv.lock names the hosts of a registry"


KEPT = {
    "rlvr_world_hf.data.pusht": [
        "collect_episode",
        "collect_episodes",
        "PushingPolicy",
        "record_policy",
        "WORLD_SIZE",
    ],
    "rlvr_world_hf.data.textworld": ["collect_transitions", "make_game"],
    "rlvr_world_hf.data.bytesized32": ["RecordedTransitions", "nothing_changes", "read_hub_rows"],
    "rlvr_world_hf.data.bytesized32_hub": ["RecordedTransitions"],
    "rlvr_world_hf.data": ["ClipAugmentation", "Episode", "RecordedTransitions", "window_rows"],
    "rlvr_world_hf.rewards": [
        "AgentPositionReward",
        "FactF1Reward",
        "ObjectStateReward",
        "PageChangeReward",
        "MAEReward",
    ],
    "rlvr_world_hf.rewards.fact_state": ["FactMatchReward"],
    "rlvr_world_hf.rewards.official_object_state": ["official_binary_reward"],
    "rlvr_world_hf.tokenizers": ["CompressiveTokenizer", "FrameTokenizer", "FiniteScalarQuantizer"],
    "rlvr_world_hf.hub.convert": ["from_official", "to_official"],
    "rlvr_world_hf.rollouts.shared_prompt": ["share_prompts"],
    "rlvr_world_hf.environments": ["WorldModelEnv", "WorldModelVectorEnv"],
    "rlvr_world_hf.planning": ["CrossEntropyPlanner", "GoalCost", "ImaginedCost", "TextCost"],
    "rlvr_world_hf.planning.pusht_task": ["MOVES", "PushTTask", "targets_after"],
    "rlvr_world_hf.planning.pusht_moves": ["imagined_moves"],
    "rlvr_world_hf.planning.pusht_simulation": ["SimulatedCost"],
    "rlvr_world_hf.planning.text_game": ["FactGoal"],
    "rlvr_world_hf.planning.web_task": ["WebTask"],
}
"""Names that users and recipes have, by the modules they have them from."""


@pytest.mark.parametrize("module", KEPT)
def test_names_stay_importable_where_users_and_recipes_have_them(module: str) -> None:
    missing = [name for name in KEPT[module] if not hasattr(import_module(module), name)]
    assert not missing
