"""Predictions are drawn while a policy trains, for its folder and for its trackers."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerCallback
from transformers.integrations import WandbCallback

from rlvr_world_hf.hub.training_checkpoints import trained_seconds
from rlvr_world_hf.training.callbacks import Clock
from rlvr_world_hf.training.showing import ShowPredictions, send_media
from tests.training.trackio_run import run_with_trackio
from tests.training.world import parameters, small_trainer


TEXT = r"the ~~old~~ **door** \< is" + "\n"


def draw(policy: Any, folder: Path) -> dict[str, Path]:
    """A picture, three moving ones and a text, which say where the policy is."""
    shade = int(1e4 * parameters(policy).norm()) % 256
    moments = [Image.new("RGB", (6, 4), (shade, 80 * place, 0)) for place in range(3)]
    files = {"predictions/frames": "strip.png", "predictions/clip": "strip.gif", "predictions/answers": "answers.md"}
    media = {name: folder / file for name, file in files.items()}
    moments[0].save(media["predictions/frames"])
    moments[0].save(media["predictions/clip"], save_all=True, append_images=moments[1:], duration=100, loop=0)
    media["predictions/answers"].write_text(TEXT, encoding="utf-8")
    return media


def train(folder: Path, *, every_steps: int = 2, drawing: Any = draw, **changes: Any) -> Any:
    trainer = small_trainer(folder, max_steps=3, save_steps=2, **changes)
    trainer.add_callback(ShowPredictions(trainer, drawing, every_steps=every_steps))
    trainer.train()
    return trainer


def files_in(folder: Path) -> Mapping[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_the_folder_has_first_regular_and_last_and_training_stays_the_same(tmp_path: Path) -> None:
    def restless(policy: Any, folder: Path) -> dict[str, Path]:
        torch.rand(3)  # noise of its own
        return draw(policy, folder)

    shown = train(tmp_path / "shown", drawing=restless)
    steps = sorted(file.name for file in (tmp_path / "shown" / "predictions").iterdir())
    assert steps == ["step_000000", "step_000002", "step_000003"]
    names = sorted(file.name for file in (tmp_path / "shown" / "predictions" / steps[0]).iterdir())
    assert names == ["answers.md", "strip.gif", "strip.png"]
    assert len({(tmp_path / "shown" / "predictions" / step / "strip.png").read_bytes() for step in steps}) == 3
    alone = small_trainer(tmp_path / "alone", max_steps=3, save_steps=2)
    alone.train()
    assert torch.equal(parameters(shown.model), parameters(alone.model))


def test_a_resumed_run_draws_the_same(tmp_path: Path) -> None:
    train(tmp_path)
    before = files_in(tmp_path / "predictions")
    trainer = small_trainer(tmp_path, max_steps=3, save_steps=2)
    trainer.add_callback(ShowPredictions(trainer, draw, every_steps=2))
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert files_in(tmp_path / "predictions") == before


def test_the_seconds_of_drawing_are_no_training(tmp_path: Path) -> None:
    def slow(policy: Any, folder: Path) -> dict[str, Path]:
        time.sleep(3)
        return {}

    begin = time.perf_counter()
    train(tmp_path, drawing=slow, callbacks=[Clock()])
    whole = time.perf_counter() - begin
    assert 0 < trained_seconds(tmp_path, 3) < whole - 9


@pytest.mark.parametrize("every_steps", [0, -1])
def test_drawing_needs_updates(tmp_path: Path, every_steps: int) -> None:
    with pytest.raises(ValueError, match="at least 1 update"):
        ShowPredictions(small_trainer(tmp_path), draw, every_steps=every_steps)


def test_tensorboard_has_pictures_that_move_and_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "log"))
    train(tmp_path / "run", report_to="tensorboard")
    (events,) = (tmp_path / "log").glob("events.*")
    log = EventAccumulator(str(events), size_guidance={"images": 0, "tensors": 0})
    log.Reload()
    for name, file in (("predictions/frames", "strip.png"), ("predictions/clip", "strip.gif")):
        found = {item.step: item for item in log.Images(name)}
        assert list(found) == [0, 2, 3]
        for step, item in found.items():
            written = tmp_path / "run" / "predictions" / f"step_{step:06d}" / file
            assert (item.width, item.height, item.encoded_image_string) == (6, 4, written.read_bytes())
    texts = log.Tensors("predictions/answers/text_summary")
    assert [(item.step, item.tensor_proto.string_val[0]) for item in texts] == [
        (step, TEXT.encode()) for step in (0, 2, 3)
    ]


def test_trackio_has_pictures_that_move_and_texts(tmp_path: Path, repository: Path) -> None:
    """Its own server, database and files, all on this machine."""
    every = run_with_trackio(__name__, tmp_path, repository)
    logs = [entry for entry in every if "predictions/frames" in entry]
    assert [entry["train/global_step"] for entry in logs] == [0, 2, 3]
    for entry in logs:
        drawn = tmp_path / "run" / "predictions" / f"step_{entry['train/global_step']:06d}"
        for name, kind, file in (("frames", "image", "strip.png"), ("clip", "image", "strip.gif")):
            item = entry[f"predictions/{name}"]
            assert item["_type"] == f"trackio.{kind}"
            (kept,) = (tmp_path / "trackio").rglob(Path(item["file_path"]).name)
            if file.endswith("gif"):
                assert kept.read_bytes() == (drawn / file).read_bytes()
            else:  # it encodes the same picture once more
                with Image.open(kept) as one, Image.open(drawn / file) as other:
                    assert one.convert("RGB").tobytes() == other.convert("RGB").tobytes()
        text = entry["predictions/answers"]
        assert (text["_type"], text["_value"]) == ("trackio.markdown", TEXT)


def test_wandb_gets_its_own_media_types(tmp_path: Path) -> None:
    """
    The calls that wandb gets, written down by a stand-in: the package is no part of the tests' environment.

    What wandb itself makes of these calls in its offline mode was looked at by hand.
    """
    logged: list[dict[str, Any]] = []
    wandb = SimpleNamespace(
        run=object(),
        log=logged.append,
        Image=lambda file: ("image", Path(file).name),
        Video=lambda file, *, format: ("video", Path(file).name, format),
        Html=lambda text: ("html", text),
    )
    callback = WandbCallback.__new__(WandbCallback)  # its constructor wants the package
    callback._wandb = wandb
    media = draw(torch.nn.Linear(1, 1), tmp_path)
    assert send_media(media, step=7, callbacks=[TrainerCallback(), callback]) == ["wandb"]
    assert logged == [
        {
            "predictions/frames": ("image", "strip.png"),
            "predictions/clip": ("video", "strip.gif", "gif"),
            "predictions/answers": (
                "html",
                '<pre style="white-space:pre-wrap">the <del style="color:firebrick">old</del> '
                '<ins style="color:green">door</ins> &lt; is\n</pre>',
            ),
            "train/global_step": 7,
        }
    ]
    wandb.run = None  # as on all processes but the first
    assert send_media(media, step=7, callbacks=[callback]) == [] and len(logged) == 1


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape("end in .png, .gif, .md, got a.mp4")):
        send_media({"predictions/clip": tmp_path / "a.mp4"}, step=0, callbacks=[])
