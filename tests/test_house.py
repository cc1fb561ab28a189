"""The rules of the house, read from the source: who may import whom, and what a public object owes its reader."""

import ast
import copy
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from tests.rewards.discovery import is_of_rewards


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
    "own_states",
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
    "workers": set(),
    "data": {"states", "workers"},
    "rewards": {"states", "workers"},
    "tokenizers": set(),
    "processors": set(),
    "worlds": PARTS | {"workers"},
    "rollouts": {"processors"},
    "hub": PARTS | {"rollouts"},
    "training": PARTS | {"rollouts", "hub"},
    "evaluation": PARTS | {"rollouts", "hub"},
    "pipeline": PARTS | {"rollouts", "hub"},
    "environments": WITH_PIPELINE - {"worlds"},
    "planning": WITH_PIPELINE - {"worlds"},
    "playground": WITH_PIPELINE - {"worlds"},
    "integrations": WITH_PIPELINE - {"worlds"} | {"planning"},
    "upper half of a world": APPLIED,
    "runs": WITH_PIPELINE,
    "findings": APPLIED | {"upper half of a world", "runs"},
    "commands": WITH_PIPELINE | {"runs", "findings"},
}

MOVED = {
    "data": {"pusht", "textworld", "bytesized32", "bytesized32_hub"},
    "rewards": {"agent_position", "fact_state", "object_state", "official_object_state", "page_change"},
    "planning": {"pusht_task", "pusht_moves", "pusht_simulation", "text_game", "web_task"},
}
"""Files that only say where their names are now: users and recipes import these from where they were."""

NAMES_A_WORLD = {
    "hub/official.py",  # the authors' checkpoints of RT-1 are named as they are on the Hub
    "runs/recipe.py",  # the world of a recipe that names none, as recipes of earlier versions may
    "commands/tools/demo.py",  # the page shows these worlds
    "commands/tools/push_space.py",  # and takes their checkpoints with it
    "playground/checkpoints.py",  # and says what makes them
}
"""Files of general rooms that name a world."""

TRAVELS_TO_THE_HUB = ("tokenizers", "processors")
ROOMS = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(path)))


def is_moved(path: Path) -> bool:
    return path.parent.parent == LIBRARY and path.stem in MOVED.get(path.parent.name, ())


def room_of(path: Path) -> str:
    """The room of a file; the files of a world are in two, one above the other."""
    *folders, name = path.relative_to(LIBRARY).with_suffix("").parts
    if folders[:1] == ["worlds"] and name in UPPER_HALF:
        return "upper half of a world"
    return folders[0] if folders else name


@cache
def imported_modules(path: Path) -> frozenset[str]:
    """Absolute names of the modules a file imports; relative ones are resolved."""
    package = ["rlvr_world_hf", *path.relative_to(LIBRARY).parent.parts]
    names: set[str] = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return frozenset(names)


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


def refuse(offenders: list[str]) -> None:
    """Fail with all that break a rule, one a line."""
    assert not offenders, "\n" + "\n".join(offenders)


def test_imports_go_downward() -> None:
    unknown = {room_of(path) for path in MODULES} - MAY_IMPORT.keys()
    assert not unknown, f"state in MAY_IMPORT what the new rooms {sorted(unknown)} may know"
    upward = {
        path: imported_rooms(path) - {room_of(path)} - MAY_IMPORT[room_of(path)]
        for path in MODULES
        if not is_moved(path)
    }
    refuse([f"{identifier(path)} imports {sorted(rooms)}" for path, rooms in upward.items() if rooms])


def test_library_stands_alone() -> None:
    outside = {"trainers", "spaces", "tests", "examples", "model_cards"}
    roots = {path: {name.split(".")[0] for name in imported_modules(path)} for path in MODULES}
    refuse(
        [f"{identifier(path)} imports {sorted(names & outside)}" for path, names in roots.items() if names & outside]
    )
    knows_trl = [path for path, names in roots.items() if "trl" in names and room_of(path) != "training"]
    refuse([f"{identifier(path)}: only training/ knows TRL" for path in knows_trl])


@pytest.mark.parametrize("room", TRAVELS_TO_THE_HUB)
def test_files_that_travel_to_the_hub_import_siblings_only(room: str) -> None:
    assert not [folder for folder in (LIBRARY / room).iterdir() if folder.is_dir() and folder.name != "__pycache__"]
    offenders = []
    for path in (LIBRARY / room).glob("*.py"):
        for node in nodes_of(path):
            if isinstance(node, ast.ImportFrom) and node.level:
                sibling = node.level == 1 and node.module and "." not in node.module
                offenders += [] if sibling else [f"{identifier(path)}: {ast.unparse(node)}"]
        offenders += [f"{identifier(path)}: {name}" for name in imported_modules(path) if name == "rlvr_world_hf"]
    refuse(offenders)


def test_no_room_without_a_question() -> None:
    shapeless = {"utils", "util", "common", "helpers", "misc", "core", "base_utils"}
    assert not {part for path in MODULES for part in path.relative_to(LIBRARY).with_suffix("").parts} & shapeless


def test_rooms_open_with_their_three_lines() -> None:
    texts = {room: ast.get_docstring(tree_of(LIBRARY / room / "__init__.py")) or "" for room in ROOMS}
    openings = {room: [line.split(":")[0] for line in text.splitlines()] for room, text in texts.items()}
    refuse([f"{room} opens with {found}" for room, found in openings.items() if found != ["In", "Out", "Never"]])


def test_nothing_prints_and_no_error_is_swallowed() -> None:
    offenders = []
    for path in MODULES:
        for node in nodes_of(path):
            if isinstance(node, ast.Name) and node.id == "print":
                offenders.append(f"{identifier(path)}:{node.lineno} prints")
            elif isinstance(node, ast.ExceptHandler) and node.type is None:
                offenders.append(f"{identifier(path)}:{node.lineno} has a bare `except`")
    refuse(offenders)


def test_records_are_frozen_slotted_and_keyword_only() -> None:
    offenders = []
    for path in MODULES:
        for node in nodes_of(path):
            if isinstance(node, ast.ClassDef) and not node.bases and "dataclass" in decorators(node):
                call = decorators(node)["dataclass"]
                stated = {word.arg for word in call.keywords} if isinstance(call, ast.Call) else set()
                lacks = {"frozen", "slots", "kw_only"} - stated
                offenders += [f"{identifier(path)}: {node.name} is not {sorted(lacks)}"] if lacks else []
    refuse(offenders)


def crosses_rooms(path: Path) -> set[str]:
    """Names of this file that its package offers or another room imports: what crosses the room's door is public."""
    module = ".".join(["rlvr_world_hf", *path.relative_to(LIBRARY).with_suffix("").parts])
    offered = {name for name, home in OFFERED.items() if home == module}
    others = (imported_modules(other) for other in MODULES if room_of(other) != room_of(path))
    imported = {name for names in others for name in names if name.rpartition(".")[0] == module}
    return offered | {name.rpartition(".")[2] for name in imported}


def lacks_in_docstring(node: ast.ClassDef | ast.FunctionDef, *, is_public: bool) -> list[str]:
    """What a reader of a definition misses: all parts where it crosses rooms, else only that there is a docstring."""
    text = ast.get_docstring(node) or ""
    if not text:
        return ["has no docstring"]
    if not is_public or not isinstance(node, ast.FunctionDef):
        return []
    arguments = [item.arg for item in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    unnamed = [name for name in arguments if f"{name} (" not in text.replace("`", "")]
    returns = node.returns is not None and ast.unparse(node.returns) != "None"
    raises = any(isinstance(item, ast.Raise) and item.exc for item in ast.walk(node))
    lacks = {
        "has no `Args:`": arguments and "Args:" not in text,
        f"does not explain {unnamed}": unnamed,
        "has no `Returns:`": returns and "Returns:" not in text and "Yields:" not in text,
        "has no `Raises:`": raises and "Raises:" not in text,
    }
    return [told for told, is_lacking in lacks.items() if is_lacking]


def test_what_crosses_a_room_says_what_it_takes_returns_and_raises() -> None:
    offenders = []
    for path in MODULES:
        public = crosses_rooms(path)
        for node in public_definitions(path):
            told = lacks_in_docstring(node, is_public=node.name in public)
            offenders += [f"{identifier(path)}: {node.name} {lack}" for lack in told]
    refuse(offenders)


def test_offered_names_are_there_with_an_example() -> None:
    texts = {name: getattr(import_module(home), name).__doc__ or "" for name, home in OFFERED.items()}
    without = [name for name, text in texts.items() if "Example" not in text or ">>>" not in text]
    refuse([f"{name} shows no example that runs" for name in without])


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
        for node in ast.walk(without_docstrings(copy.deepcopy(tree_of(path)))):
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


def test_rewards_lie_where_the_conformance_tests_look() -> None:
    elsewhere = []
    for path in MODULES:
        module = ".".join(["rlvr_world_hf", *path.relative_to(LIBRARY).with_suffix("").parts])
        for node in tree_of(path).body:
            bases = [ast.unparse(base).rpartition(".")[2] for base in getattr(node, "bases", [])]
            if any(base.endswith("Reward") for base in bases) and not is_of_rewards(module):
                elsewhere.append(f"{identifier(path)}: {node.name}")
    refuse(elsewhere)
