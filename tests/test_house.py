"""The rules of the house, read from the source: who may import whom, and what a public object owes its reader."""

import ast
import subprocess
import sys
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


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(path: Path) -> str:
    return path.relative_to(LIBRARY).with_suffix("").parts[0]


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
    relative = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.ImportFrom) and n.level == 1]
    return {
        alias.name: ".".join([*package, str(node.module)])
        for node in relative
        for alias in node.names
        if node.module != "lazy_names"
    }


OFFERED = {name: home for path in sorted(LIBRARY.rglob("__init__.py")) for name, home in offered_names(path).items()}


def identifier(path: Path) -> str:
    return path.relative_to(LIBRARY).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_imports_go_downward(path: Path) -> None:
    room = room_of(path)
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


@pytest.mark.parametrize("room", ROOMS)
def test_tests_mirror_the_room(room: str) -> None:
    files = {path.stem for path in (LIBRARY / room).glob("*.py")} - {"__init__"}
    tested = {path.stem.removeprefix("test_") for path in (LIBRARY.parent / "tests" / room).glob("test_*.py")}
    assert files <= tested, f"no test file mirrors {sorted(files - tested)} of {room}/"
