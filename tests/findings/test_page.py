import json
from pathlib import Path

import pytest

from rlvr_world_hf.findings import page as page_module
from rlvr_world_hf.findings.page import renew_evidence


def test_json_pictures_and_table_go_to_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "CHECKOUT", tmp_path / "checkout")
    page = tmp_path / "checkout" / "docs" / "evidence.md"
    page.parent.mkdir(parents=True)
    page.write_text("top\n<!-- throws -->\n<!-- end of throws -->\nbottom\n")
    record = {"n": 2, "recipe": "r", "commit": "a1", "training_seeds": [0, 1, 2], "sampling_seeds": [0]}
    record["rows"] = {"base": {"score": {"mean": 0.5, "low": 0.25, "high": 0.75}, "other": {}}}
    (tmp_path / "throws.json").write_text(json.dumps(record))
    for name in ("throws.png", "throws_best.gif", "throws.txt", "other.png"):
        (tmp_path / name).write_text(name)
    renew_evidence(tmp_path / "throws.json", ["score"])
    names = {file.name for file in (page.parent / "evidence").iterdir()}
    assert names == {"throws.json", "throws.png", "throws_best.gif"}
    assert "| row | score |\n|---|---|\n| base | 0.500 (0.250 to 0.750) |\n" in page.read_text()
    assert page.read_text().startswith("top\n<!-- throws -->") and page.read_text().endswith("-->\nbottom\n")
