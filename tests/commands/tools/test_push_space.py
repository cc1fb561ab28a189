"""The Space is put together whole, and deployed in one commit: to a recorder, and to a Hub on this machine."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from rlvr_world_hf.commands import cli
from rlvr_world_hf.commands.tools.push_space import CHECKPOINTS, PAGE, gather_space
from tests.local_hub import USER, LocalHub


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gather_space(tmp_path_factory.mktemp("space"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    recorded: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self: HfApi, **settings: Any) -> str:
        recorded.append(("create_repo", settings))
        return "https://hub/spaces/owner/name"

    def upload_folder(self: HfApi, **settings: Any) -> None:
        files = {path.relative_to(settings["folder_path"]) for path in Path(settings["folder_path"]).rglob("*")}
        recorded.append(("upload_folder", settings | {"files": {path.as_posix() for path in files}}))

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    return recorded


def test_space_holds_page_library_and_checkpoints(space: Path, repository: Path) -> None:
    files = {path.relative_to(space).as_posix() for path in space.rglob("*") if path.is_file()}
    page = {path.name for path in (repository / "spaces" / PAGE).iterdir() if path.is_file()}
    assert page <= files and {"app.py", "README.md", "requirements.txt"} <= page
    library = {f"rlvr_world_hf/{path.relative_to(repository / 'rlvr_world_hf').as_posix()}"
               for path in (repository / "rlvr_world_hf").rglob("*.py")}  # fmt: skip
    assert library <= files
    assert "model_cards/pusht-codec/diffusion_pytorch_model.safetensors" in files
    folders = {file.split("/")[1] for file in files if file.startswith("model_cards/")}
    assert folders <= set(CHECKPOINTS)


def test_space_holds_nothing_pickled_hidden_or_compiled(space: Path) -> None:
    unwanted = (".bin", ".pt", ".pth", ".pkl", ".pyc", ".ckpt")
    assert not [path for path in space.rglob("*") if path.suffix in unwanted or path.name.startswith((".", "__pyc"))]
    assert sum(path.stat().st_size for path in space.rglob("*.safetensors")) <= 24 * 1024**2


def test_library_in_the_space_is_the_one_that_runs(space: Path) -> None:
    code = (
        "import rlvr_world_hf.runs.locations as l; print(l.__file__); print(l.shipped_folder('model_cards'));"
        "print(l.bundled_path('pusht-codec'))"
    )
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=space, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(Path(line).is_relative_to(space) for line in done.stdout.split())


def test_requirements_cover_what_the_page_imports(space: Path) -> None:
    """Everything the library imports when the page opens is asked for, or comes with what is."""
    asked = {line.split(">")[0].strip().lower() for line in (space / "requirements.txt").read_text().splitlines()}
    names = {"cv2": "opencv-python-headless", "PIL": "pillow", "gym_pusht": "gym-pusht", "yaml": "pyyaml"}
    names |= {"tokenizers": "transformers"}  # brings it
    worlds = ("worlds/pusht", "worlds/textworld")
    rooms = ("playground", "pipeline.py", "hub", "processors", "tokenizers", "rewards", "rollouts", "states", *worlds)
    for room in rooms:
        place = space / "rlvr_world_hf" / room
        for path in place.rglob("*.py") if place.is_dir() else [place]:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    modules = [str(node.module)]
                roots = {module.split(".")[0] for module in modules} - set(sys.stdlib_module_names)
                needed = {names.get(root, root.replace("_", "-")).lower() for root in roots}
                assert needed <= asked, f"{path.name} needs {needed - asked}"


def test_deployed_in_one_commit(calls: list[tuple[str, dict[str, Any]]], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["push-space", "owner/name", "--private", "--message", "Show the playground"]) == 0
    (created, creation), (uploaded, upload) = calls
    assert (created, uploaded) == ("create_repo", "upload_folder")
    assert creation["repo_id"] == upload["repo_id"] == "owner/name"
    assert creation["repo_type"] == upload["repo_type"] == "space" and creation["space_sdk"] == "gradio"
    assert creation["exist_ok"] and creation["private"]
    assert upload["commit_message"] == "Show the playground" and upload["delete_patterns"] == ["*"]
    assert {"app.py", "rlvr_world_hf/pipeline.py"} <= upload["files"]
    assert "https://hub/spaces/owner/name" in capsys.readouterr().out


def test_one_that_exists_stays_as_public_as_it_is(calls: list[tuple[str, dict[str, Any]]]) -> None:
    assert cli.main(["push-space", "owner/name"]) == 0
    assert calls[0][1]["private"] is None


def test_the_space_comes_back_as_it_was_put_together(hub: LocalHub, space: Path) -> None:
    repo = f"{USER}/playground"
    hub_api = HfApi()
    hub_api.create_repo(repo, repo_type="space", space_sdk="gradio")
    hub_api.upload_file(repo_id=repo, repo_type="space", path_or_fileobj=b"old", path_in_repo="old.py")
    assert cli.main(["push-space", repo]) == 0
    assert hub_api.space_info(repo).sdk == "gradio"
    pulled = Path(snapshot_download(repo, repo_type="space"))
    deployed = {path for path in hub.files(repo, kind="space") if path != ".gitattributes"}
    gathered = {path.relative_to(space).as_posix(): path for path in space.rglob("*") if path.is_file()}
    assert deployed == gathered.keys(), "what is no longer part of it is gone"
    assert all((pulled / name).read_bytes() == path.read_bytes() for name, path in gathered.items())


@pytest.mark.parametrize("words", [[], ["name"], ["a/b/c"], ["owner/name", "more"], ["owner/name", "--public"]])
def test_what_is_no_space_is_refused(
    words: list[str], calls: list[tuple[str, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["push-space", *words]) == 2
    message = capsys.readouterr().err
    assert "owner/name" in message and "--help" in message and not calls


def test_refusal_of_the_hub_is_told(
    calls: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import httpx

    def refuse(self: HfApi, **settings: Any) -> None:
        answer = httpx.Response(403, request=httpx.Request("POST", "http://hub"))
        raise HfHubHTTPError("403 Forbidden: no write token", response=answer)

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    assert cli.main(["push-space", "owner/name"]) == 2
    assert "the Hub refused owner/name: 403 Forbidden" in capsys.readouterr().err


def test_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["push-space", "--help"]) == 0
    assert "usage: rlvr-world push-space" in capsys.readouterr().out
