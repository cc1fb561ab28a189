import os
from pathlib import Path

import pytest

from rlvr_world_hf.data.drafts import draft_path, read_draft_name, this_machine, whole_file


@pytest.mark.parametrize("name", ["results.json", "base", "resume.pt", "a.b-c_d", ".hidden"])
@pytest.mark.parametrize("is_old", [False, True])
def test_the_name_of_a_draft_says_whose_it_is(tmp_path: Path, name: str, is_old: bool) -> None:
    draft = draft_path(tmp_path / name, is_old=is_old)
    assert draft.parent == tmp_path and draft.name.startswith(".")
    told = read_draft_name(draft.name)
    assert told is not None
    assert (told.target, told.machine, told.process, told.is_old) == (name, this_machine(), os.getpid(), is_old)
    assert draft_path(tmp_path / name, is_old=is_old) != draft  # two threads may write the same file


@pytest.mark.parametrize("name", ["thesis.draft", ".draft", "base.node.1.0a1b2c3d.draft", ".base.1.0a1b2c3d.draft"])
def test_other_names_are_no_drafts(name: str) -> None:
    assert read_draft_name(name) is None


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "note.txt"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(file) as draft:
        draft.write_text("ne")
        raise KeyboardInterrupt
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["note.txt"]
    with whole_file(file) as draft:
        draft.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new" and os.listdir(tmp_path) == ["note.txt"]
