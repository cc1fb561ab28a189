"""The paper index says what the code does."""

import ast
import dataclasses
import re
from pathlib import Path

from rlvr_world_hf import WorldModelGRPOConfig


def test_settings_of_the_paper_are_the_defaults(repository: Path) -> None:
    text = (repository / "docs" / "paper_index.md").read_text()
    block = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert block is not None
    call = next(node for node in ast.walk(ast.parse(block[1])) if isinstance(node, ast.Call))
    stated = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    defaults = {field.name: field.default for field in dataclasses.fields(WorldModelGRPOConfig)}
    assert {name: defaults[name] for name in stated} == stated
