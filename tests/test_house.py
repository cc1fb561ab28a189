"""The rules of the house, read from the source: who may import whom, and what a public object owes its reader."""

import ast
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest


LIBRARY = Path(__file__).resolve().parents[1] / "rlvr_world_hf"
MODULES = sorted(LIBRARY.rglob("*.py"))

STATES = {"states"}
PARTS = STATES | {"data", "rewards", "tokenizers", "processors"}
BELOW_LEARNING = PARTS | {"rollouts", "hub"}
BELOW_PIPELINE = BELOW_LEARNING | {"training", "evaluation"}

# Downward only. A new room, or file beside the rooms, states here what it may know.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": BELOW_PIPELINE | {"pipeline", "auto_processors", "lazy_names"},
    "auto_processors": set(),
    "lazy_names": set(),
    "states": {"lazy_names"},
    "data": STATES | {"lazy_names"},
    "rewards": STATES | {"lazy_names"},
    "tokenizers": set(),
    "processors": set(),
    "rollouts": {"processors", "lazy_names"},
    "hub": PARTS | {"rollouts", "lazy_names"},
    "training": BELOW_LEARNING | {"lazy_names"},
    "evaluation": BELOW_LEARNING | {"lazy_names"},
    "pipeline": BELOW_PIPELINE,
    "environments": BELOW_PIPELINE | {"pipeline", "lazy_names"},
    "planning": BELOW_PIPELINE | {"pipeline", "lazy_names"},
    "playground": BELOW_PIPELINE | {"pipeline"},
    "commands": BELOW_PIPELINE | {"pipeline", "planning", "environments"},
}
TRAVELS_TO_THE_HUB = ("tokenizers", "processors")
ROOMS = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(path)))


def room_of(path: Path) -> str:
    return path.relative_to(LIBRARY).with_suffix("").parts[0]


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
    ours = (name.split(".") for name in imported_modules(path) if name.startswith("rlvr_world_hf."))
    rooms = {parts[1] for parts in ours}
    return {room for room in rooms if room in MAY_IMPORT or room in ROOMS}


def decorators(node: ast.ClassDef | ast.FunctionDef) -> dict[str, ast.expr]:
    return {ast.unparse(item.func if isinstance(item, ast.Call) else item): item for item in node.decorator_list}


def public_definitions(path: Path) -> list[ast.ClassDef | ast.FunctionDef]:
    definitions = (node for node in tree_of(path).body if isinstance(node, ast.ClassDef | ast.FunctionDef))
    return [node for node in definitions if node.name[0] != "_" and "overload" not in decorators(node)]


def offered_names(path: Path) -> dict[str, str]:
    """Public names a package's `__init__.py` offers, each with the module it lives in."""
    package = ["rlvr_world_hf", *path.relative_to(LIBRARY).parent.parts]
    relative = [n for n in nodes_of(path) if isinstance(n, ast.ImportFrom) and n.level == 1]
    return {
        alias.name: ".".join([*package, str(node.module)])
        for node in relative
        for alias in node.names
        if node.module != "lazy_names"
    }


OFFERED = {name: home for path in sorted(LIBRARY.rglob("__init__.py")) for name, home in offered_names(path).items()}


def identifier(path: Path) -> str:
    return path.relative_to(LIBRARY).as_posix()


def refuse(offenders: list[str]) -> None:
    """Fail with all that break a rule, one a line."""
    assert not offenders, "\n" + "\n".join(offenders)


def test_imports_go_downward() -> None:
    unknown = {room_of(path) for path in MODULES} - MAY_IMPORT.keys()
    assert not unknown, f"state in MAY_IMPORT what the new rooms {sorted(unknown)} may know"
    upward = {path: imported_rooms(path) - {room_of(path)} - MAY_IMPORT[room_of(path)] for path in MODULES}
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
    for path in sorted(LIBRARY.rglob("__init__.py")):
        package = import_module(".".join(["rlvr_world_hf", *path.relative_to(LIBRARY).parent.parts]))
        for name in offered_names(path):
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
    offenders = []
    for room in ROOMS:
        files = {path.stem for path in (LIBRARY / room).glob("*.py")} - {"__init__"}
        tested = {path.stem.removeprefix("test_") for path in (LIBRARY.parent / "tests" / room).glob("test_*.py")}
        offenders += [f"no test file mirrors {room}/{name}.py" for name in sorted(files - tested)]
    refuse(offenders)
