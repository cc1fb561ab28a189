"""The paper index says what the code does, and the page of evidence what was measured."""

import ast
import dataclasses
import json
import re
from pathlib import Path

import pytest

from rlvr_world_hf import WorldModelGRPOConfig
from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.evaluation.table import markdown_table
from rlvr_world_hf.findings.application import find_application
from rlvr_world_hf.findings.applications import application_names
from rlvr_world_hf.findings.finding import load_finding
from rlvr_world_hf.findings.table import finding_table
from rlvr_world_hf.runs.reproduce import SEEDS


DOCS = Path(__file__).parents[1] / "docs"
FINDINGS = sorted(path.stem for path in (DOCS / "evidence").glob("*.json"))
NAMES = {"finding", "recipe", "commit", "machine", "n", "training_seeds", "sampling_seeds", "rows"}


def test_settings_of_the_paper_are_the_defaults(repository: Path) -> None:
    text = (repository / "docs" / "paper_index.md").read_text()
    block = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert block is not None
    call = next(node for node in ast.walk(ast.parse(block[1])) if isinstance(node, ast.Call))
    stated = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    defaults = {field.name: field.default for field in dataclasses.fields(WorldModelGRPOConfig)}
    assert {name: defaults[name] for name in stated} == stated


@pytest.mark.parametrize("name", FINDINGS)
def test_the_page_of_evidence_has_the_table_of_a_committed_finding(name: str) -> None:
    record = json.loads((DOCS / "evidence" / f"{name}.json").read_text(encoding="utf-8"))
    assert {*record} >= NAMES
    assert record["finding"] == name
    assert len(record["training_seeds"]) >= len(SEEDS) or record["reason"]
    if name in application_names():
        metrics = [*find_application(name).metrics]
    else:
        metrics = [*load_finding(name).plot["metrics"], "train_seconds"]
    table = finding_table(record, metrics=metrics)
    page = (DOCS / "evidence.md").read_text(encoding="utf-8")
    section = re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", page, flags=re.DOTALL)
    assert section is not None and section[1].strip() == table.strip(), f"docs/evidence.md must have:\n{table}"
    assert f"(evidence/{name}.png)" in page


@pytest.mark.parametrize("card", ["bytesized32-binary", "bytesized32-task"])
def test_the_page_of_evidence_has_the_figures_of_a_card(card: str, repository: Path) -> None:
    metrics = ["object_state_binary_changed", "object_state_binary_unchanged"]
    metrics += ["object_state_task_specific", "parse_failure"]
    results = read_results(repository / "model_cards" / card / "results.json")
    table = markdown_table(results, metrics=metrics, rows=["nothing_changes", "base", "control", "rlvr"])
    page = (DOCS / "evidence.md").read_text(encoding="utf-8")
    assert f"<!-- {card} -->\n\n{table}\n<!-- end of {card} -->" in page, f"docs/evidence.md must have:\n{table}"


def test_pictures_of_the_page_of_evidence_are_there() -> None:
    page = (DOCS / "evidence.md").read_text(encoding="utf-8")
    shown = re.findall(r"\]\((evidence/[^)]+)\)", page)
    assert shown and not [picture for picture in shown if not (DOCS / picture).exists()]


def test_the_path_of_a_sample_goes_through_files_that_exist(repository: Path) -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    steps = re.findall(r"^\d+\. (.*?)(?=^\d+\. |^In a world)", text, flags=re.DOTALL | re.MULTILINE)
    named = [re.findall(r"`(rlvr_world_hf/\S+?\.py)`", step) for step in steps]
    assert len(steps) >= 12 and all(named)
    shown = [f"rlvr_world_hf/{name}" for name in re.findall(r"\|(\w+/\w+\.py)\|", text)]
    mentioned = re.findall(r"`((?:rlvr_world_hf|tests)/\S+?\.py)`", text)
    missing = [name for name in {*shown, *mentioned} if not (repository / name).is_file()]
    assert not missing


def test_the_rooms_drawn_are_those_there_are(repository: Path) -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^├── (\w+)/ |^└── (\w+)/ ", text, flags=re.MULTILINE))
    rooms = {path.parent.name for path in (repository / "rlvr_world_hf").glob("*/__init__.py")}
    assert {name for pair in drawn for name in pair if name} == rooms
