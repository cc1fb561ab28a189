"""The rules of the house, read from the source: who may import whom, and what a public object owes its reader."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest


LIBRARY = Path(__file__).resolve().parents[1] / "rlvr_world_hf"
MODULES = sorted(LIBRARY.rglob("*.py"))

PARTS = {"states", "data", "rewards", "tokenizers", "processors"}
BELOW_LEARNING = PARTS | {"worlds", "rollouts", "hub"}
BELOW_PIPELINE = BELOW_LEARNING | {"training", "evaluation"}
WITH_PIPELINE = BELOW_PIPELINE | {"pipeline"}
APPLIED = WITH_PIPELINE | {"environments", "planning", "playground"}

UPPER_HALF = {
    "differences",
    "drawing",
    "goal_policies",
    "judging",
    "moves",
    "playground",
    "quests",
    "simulated_cost",
    "task",
    "tasks",
}
"""Files of a world that know the rooms which play and plan; its other files can be imported where one only records."""

# Downward only. A new room, or file beside the rooms, states here what it may know.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "states": set(),
    "data": {"states"},
    "rewards": {"states"},
    "tokenizers": set(),
    "processors": set(),
    "worlds": PARTS,
    "rollouts": {"processors"},
    "hub": PARTS | {"rollouts"},
    "training": PARTS | {"rollouts", "hub"},
    "evaluation": PARTS | {"rollouts", "hub"},
    "pipeline": PARTS | {"rollouts", "hub"},
    "environments": WITH_PIPELINE - {"worlds"},
    "planning": WITH_PIPELINE - {"worlds"},
    "playground": WITH_PIPELINE - {"worlds"},
    "upper half of a world": APPLIED,
    "runs": WITH_PIPELINE,
    "findings": APPLIED | {"upper half of a world", "runs"},
    "commands": WITH_PIPELINE | {"runs", "findings"},
}

MOVED = {
    "data": {"pusht", "textworld", "bytesized32", "bytesized32_hub"},
    "rewards": {"agent_position", "fact_state", "object_state", "page_change"},
    "planning": {"pusht_task", "pusht_moves", "text_game", "web_task"},
}
"""Files that only say where their names are now: users and recipes import these from where they were."""

NAMES_A_WORLD = {"hub/official.py"}
"""Files of general rooms that name a world: the authors' checkpoints of RT-1 are named as they are on the Hub."""

TRAVELS_TO_THE_HUB = ("tokenizers", "processors")
ROOMS = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_moved(path: Path) -> bool:
    return path.parent.parent == LIBRARY and path.stem in MOVED.get(path.parent.name, ())


def room_of(path: Path) -> str:
    """The room of a file; the files of a world are in two, one above the other."""
    *folders, name = path.relative_to(LIBRARY).with_suffix("").parts
    if folders[:1] == ["worlds"] and name in UPPER_HALF:
        return "upper half of a world"
    return folders[0] if folders else name


def imported_modules(path: Path) -> set[str]:
    """Absolute names of the modules a file imports; relative ones are resolved."""
    package = ["rlvr_world_hf", *path.relative_to(LIBRARY).parent.parts]
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def imported_rooms(path: Path) -> set[str]:
    ours = [name.split(".")[1:] for name in imported_modules(path) if name.startswith("rlvr_world_hf.")]
    files = [LIBRARY.joinpath(*parts[:-1]).with_suffix(".py") for parts in ours if len(parts) > 1]
    of_files = {room_of(file) for file in files if file.is_file()}
    return of_files | {room for parts in ours if (room := parts[0]) in ROOMS and room != "worlds"}


def decorators(node: ast.ClassDef | ast.FunctionDef) -> dict[str, ast.expr]:
    return {ast.unparse(item.func if isinstance(item, ast.Call) else item): item for item in node.decorator_list}


def public_definitions(path: Path) -> list[ast.ClassDef | ast.FunctionDef]:
    definitions = (node for node in tree_of(path).body if isinstance(node, ast.ClassDef | ast.FunctionDef))
    return [node for node in definitions if node.name[0] != "_" and "overload" not in decorators(node)]


def offered_names(package: Path) -> dict[str, str]:
    """Public names that a package's `__init__.pyi`, or else its `__init__.py`, offers, each with its module."""
    stub = package / "__init__.pyi"
    tree = tree_of(stub if stub.exists() else package / "__init__.py")
    place = ["rlvr_world_hf", *package.relative_to(LIBRARY).parts]
    relative = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1]
    return {alias.name: ".".join([*place, str(node.module)]) for node in relative for alias in node.names}


PACKAGES = sorted(path.parent for path in LIBRARY.rglob("__init__.py"))
OFFERED = {name: home for package in PACKAGES for name, home in offered_names(package).items()}


def identifier(path: Path) -> str:
    return path.relative_to(LIBRARY).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_imports_go_downward(path: Path) -> None:
    room = room_of(path)
    if is_moved(path):
        return
    assert room in MAY_IMPORT, f"state in MAY_IMPORT what the new room {room!r} may know"
    assert imported_rooms(path) - {room} <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_library_stands_alone(path: Path) -> None:
    outside = {"trainers", "spaces", "tests", "examples", "model_cards"}
    roots = {name.split(".")[0] for name in imported_modules(path)}
    assert not roots & outside
    assert "trl" not in roots or room_of(path) == "training", "only training/ knows TRL"


@pytest.mark.parametrize("room", TRAVELS_TO_THE_HUB)
def test_files_that_travel_to_the_hub_import_siblings_only(room: str) -> None:
    assert not [folder for folder in (LIBRARY / room).iterdir() if folder.is_dir() and folder.name != "__pycache__"]
    for path in (LIBRARY / room).glob("*.py"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1 and node.module and "." not in node.module, f"{path.name}: {ast.unparse(node)}"
        assert not [name for name in imported_modules(path) if name == "rlvr_world_hf"], path.name


def test_no_room_without_a_question() -> None:
    shapeless = {"utils", "util", "common", "helpers", "misc", "core", "base_utils"}
    assert not {part for path in MODULES for part in path.relative_to(LIBRARY).with_suffix("").parts} & shapeless


@pytest.mark.parametrize("room", ROOMS)
def test_room_opens_with_its_three_lines(room: str) -> None:
    lines = (ast.get_docstring(tree_of(LIBRARY / room / "__init__.py")) or "").splitlines()
    assert [line.split(":")[0] for line in lines] == ["In", "Out", "Never"]


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_nothing_prints_and_no_error_is_swallowed(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        assert not (isinstance(node, ast.Name) and node.id == "print"), f"{path.name}:{node.lineno} prints"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_records_are_frozen_slotted_and_keyword_only(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ClassDef) and not node.bases and "dataclass" in decorators(node):
            call = decorators(node)["dataclass"]
            stated = {word.arg for word in call.keywords} if isinstance(call, ast.Call) else set()
            assert {"frozen", "slots", "kw_only"} <= stated, f"{path.name}: {node.name}"


def crosses_rooms(path: Path) -> set[str]:
    """Names of this file that its package offers or another room imports: what crosses the room's door is public."""
    module = ".".join(["rlvr_world_hf", *path.relative_to(LIBRARY).with_suffix("").parts])
    offered = {name for name, home in OFFERED.items() if home == module}
    others = (imported_modules(other) for other in MODULES if room_of(other) != room_of(path))
    imported = {name for names in others for name in names if name.rpartition(".")[0] == module}
    return offered | {name.rpartition(".")[2] for name in imported}


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_what_crosses_a_room_says_what_it_takes_returns_and_raises(path: Path) -> None:
    public = crosses_rooms(path)
    for node in public_definitions(path):
        where, text = f"{path.name}: {node.name}", ast.get_docstring(node) or ""
        assert text, f"{where} has no docstring"
        if isinstance(node, ast.FunctionDef) and node.name in public:
            arguments = [item.arg for item in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            unnamed = [name for name in arguments if f"{name} (" not in text.replace("`", "")]
            returns = node.returns is not None and ast.unparse(node.returns) != "None"
            raises = any(isinstance(item, ast.Raise) and item.exc for item in ast.walk(node))
            assert not arguments or "Args:" in text, f"{where} has no `Args:`"
            assert not unnamed, f"{where} does not explain {unnamed}"
            assert not returns or "Returns:" in text or "Yields:" in text, f"{where} has no `Returns:`"
            assert not raises or "Raises:" in text, f"{where} has no `Raises:`"


@pytest.mark.parametrize("name", sorted(OFFERED))
def test_offered_name_is_there_with_an_example(name: str) -> None:
    thing = getattr(import_module(OFFERED[name]), name)
    text = thing.__doc__ or ""
    assert "Example" in text and ">>>" in text, f"{name} shows no example that runs"


def test_packages_offer_what_their_type_checker_sees() -> None:
    for folder in PACKAGES:
        package = import_module(".".join(["rlvr_world_hf", *folder.relative_to(LIBRARY).parts]))
        for name in offered_names(folder):
            assert getattr(package, name).__name__ == name
            assert name in dir(package)
        with pytest.raises(AttributeError, match="no_such_name"):
            _ = package.no_such_name


def test_importing_the_library_is_cheap() -> None:
    heavy = ("torch", "transformers", "trl", "diffusers", "datasets", "numpy")
    code = f"import sys, rlvr_world_hf; sys.exit(str([name for name in {heavy!r} if name in sys.modules] or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_tests_mirror_the_rooms() -> None:
    files = [path for path in MODULES if path.parent != LIBRARY and path.name != "__init__.py" and not is_moved(path)]
    places = {path: Path("tests", *path.relative_to(LIBRARY).parts[:-1], f"test_{path.name}") for path in files}
    assert not [str(place) for place in places.values() if not (LIBRARY.parent / place).is_file()]


WORLDS = re.compile(
    r"pusht|textworld|bytesized|webarena|webpages|pendulum|metaworld|bridge|rt-?1(?!\d)", re.IGNORECASE
)


def test_general_rooms_name_no_world() -> None:
    named = []
    for path in MODULES:
        general = room_of(path) in MAY_IMPORT and room_of(path) not in ("worlds", "upper half of a world", "findings")
        if not general or is_moved(path) or identifier(path) in NAMES_A_WORLD:
            continue
        for node in ast.walk(without_docstrings(tree_of(path))):
            words = {ast.Constant: "value", ast.Name: "id", ast.Attribute: "attr", ast.alias: "name"}
            word = getattr(node, words.get(type(node), ""), None)
            if isinstance(word, str) and WORLDS.search(word):
                named.append(f"{identifier(path)}:{node.lineno}: {word:.60}")
    assert not named


def without_docstrings(tree: ast.Module) -> ast.Module:
    """A tree without the texts that stand for themselves: docstrings of modules, classes, functions and constants."""
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            is_text = [isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) for item in body]
            node.body = [item for item, skipped in zip(body, is_text, strict=True) if not skipped]
    return tree
