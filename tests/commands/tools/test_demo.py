import gradio as gr
import pytest

from rlvr_world_hf.commands import cli
from tests.running_loop import in_running_loop


@pytest.fixture
def launched(monkeypatch):
    pages = []
    monkeypatch.setattr(gr.Blocks, "launch", lambda self, **settings: pages.append((self.title, settings)))
    return pages


def test_demo_serves_the_page_of_a_run(whole_run, launched, monkeypatch):
    assert in_running_loop(cli.main, ["demo", str(whole_run.output_dir)]) == 0
    ((title, settings),) = launched
    assert title == "World model playground"
    assert ".rw-film" in settings["css"]
    monkeypatch.setenv("RLVR_WORLD_PLACES", str(whole_run.output_dir))
    assert in_running_loop(cli.main, ["demo"]) == 0
    assert len(launched) == 2


def test_demo_plays_the_bundled_checkpoints_where_there_is_no_run(tmp_path, monkeypatch, launched):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RLVR_WORLD_PLACES", raising=False)
    assert in_running_loop(cli.main, ["demo"]) == 0
    assert len(launched) == 1


def test_demo_says_what_makes_a_run(tmp_path, monkeypatch, launched, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "outputs/quickstart"]) == 2
    message = capsys.readouterr().err
    assert "no checkpoint outputs/quickstart/base. Run `make quickstart` first" in message
    assert message.count("\n") == 1
    assert not launched


@pytest.mark.parametrize("words", [["one", "two", "three"], ["--port", "1"], ["--port"]])
def test_demo_takes_a_folder_of_each_world(words, capsys):
    assert cli.main(["demo", *words]) == 2
    assert "at most two folders" in capsys.readouterr().err


def test_demo_explains_itself(capsys):
    assert cli.main(["demo", "--help"]) == 0
    usage = capsys.readouterr().out
    assert usage.startswith("usage: rlvr-world demo [FOLDER ...]") and "outputs/quickstart" in usage
    assert "Args" not in usage
