from pathlib import Path

import pytest

from rlvr_world_hf.evaluation.page import renew_page, renew_section


@pytest.mark.parametrize("name", ["a", "b"])
def test_only_its_own_section_changes(name: str) -> None:
    page = "top\n<!-- a -->\none\n<!-- end of a -->\nmiddle\n<!-- b -->\ntwo\n<!-- end of b -->\nbottom\n"
    renewed = renew_section(page, name, r"new \1")
    assert r"new \1" in renewed and ("one" in renewed) == (name == "b") and ("two" in renewed) == (name == "a")
    assert all(word in renewed for word in ("top", "middle", "bottom"))
    assert renew_section(renewed, name, r"new \1") == renewed
    assert renew_section(page, "c", "new") == page


def test_a_page_is_renewed_in_place_and_none_is_made(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    renew_page(page, "a", "| ± |\n")
    assert not page.exists()
    page.write_text("top\n<!-- a -->\nold\n<!-- end of a -->\n", encoding="utf-8")
    renew_page(page, "a", "| ± |\n")
    assert page.read_text(encoding="utf-8") == "top\n<!-- a -->\n\n| ± |\n\n<!-- end of a -->\n"
