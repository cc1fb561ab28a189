import json
from pathlib import Path
from typing import Any

from rlvr_world_hf.findings.applications.planning_text import planning_text
from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.processors.text import LanguageWorldModelProcessor
from tests.tiny import text_tokenizer, tiny_language_model


def test_reactive_guided_and_the_game_itself(tmp_path: Path) -> None:
    processor: Any = LanguageWorldModelProcessor(text_tokenizer(), prompt_template="{state}\n> {action}\n")
    for seed, name in enumerate(("base", "rlvr")):
        model = tiny_language_model(processor.tokenizer, seed=seed)
        WorldModelPipeline(model, processor).save_pretrained(tmp_path / "run" / name)
    settings: dict[str, int] = {"starts": 2, "commands": 2, "horizon": 1, "rooms": 1, "objects": 2, "quest_length": 1}
    path = planning_text([tmp_path / "run"], folder=tmp_path / "out", **settings)
    record = json.loads(path.read_text())
    assert list(record["rows"]) == ["reactive", "base", "rlvr", "game"]
    assert record["rows"]["game"]["success"]["mean"] == 1.0 and record["rows"]["game"]["commands"]["mean"] == 1.0
    assert record["protocol"]["horizon"] == 1 and record["recipe"] == "unknown"
    assert json.loads(planning_text([tmp_path / "run"], folder=tmp_path / "out", **settings).read_text()) == record
