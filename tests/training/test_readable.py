"""The table of completions shows what a person reads: errors and pictures, numbers, differences, and no tokens."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from rlvr_world_hf.rewards.pixel import MAEReward
from rlvr_world_hf.rewards.sensor import SensorMSEReward
from rlvr_world_hf.training.modality import StepBlockModality
from rlvr_world_hf.training.readable import PICTURED, SMALLEST, description, differences, picture, situation
from tests.training.trackio_run import run_with_trackio
from tests.training.world import (
    joint_processor,
    parameters,
    sensor_processor,
    small_processor,
    small_rows,
    small_trainer,
)


def table_of(folder: Path, step: int) -> pd.DataFrame:
    return pd.read_parquet(folder / "completions" / f"completions_{step:05d}.parquet")


def train(folder: Path, **changes: Any) -> Any:
    """Two batches of rollouts, each of 32 completions."""
    trainer = small_trainer(folder, log_completions=True, num_completions_to_print=1, **changes)
    trainer.train()
    return trainer


def test_frames_are_told_by_their_errors_and_drawn(tmp_path: Path) -> None:
    trainer = train(tmp_path / "logged", save_strategy="no")
    alone = small_trainer(tmp_path / "alone", save_strategy="no")
    alone.train()
    assert torch.equal(parameters(trainer.model), parameters(alone.model)), "what is logged changes nothing"
    table = table_of(tmp_path / "logged", 3)
    assert len(table) == 32
    for number, (text, reward) in enumerate(zip(table["completion"], table["mae"], strict=True)):
        told, _, place = text.partition("; ")
        error = float(told.split()[5].rstrip(":"))
        assert told.startswith("2 frames, mean absolute error ") and error == pytest.approx(-reward, abs=1e-4)
        assert place == (f"row {number + 1} of completions_00002.png" if number < PICTURED else "")
    assert "<" not in "".join(table["completion"])
    with Image.open(tmp_path / "logged" / "completions" / "completions_00002.png") as sheet:
        # Three frames beside each other, recorded above predicted; lines of white between completions.
        assert sheet.width == 3 * SMALLEST and sheet.height == PICTURED * (2 * SMALLEST + 4) - 4
        pixels = np.asarray(sheet)
    given = pixels[:, :SMALLEST]
    assert (given[:SMALLEST] == given[SMALLEST : 2 * SMALLEST]).all(), "the last given frame stands in both lines"
    assert (pixels[:SMALLEST, SMALLEST:] != pixels[SMALLEST : 2 * SMALLEST, SMALLEST:]).any()


def test_sensors_are_told_in_numbers(tmp_path: Path) -> None:
    processor = sensor_processor()
    train(tmp_path, processor=processor, rewards=SensorMSEReward(scale=[1.0] * 3), save_strategy="no")
    table = table_of(tmp_path, 1)
    recorded = {tuple(np.asarray(row["reference"], float).ravel().round(3)) for row in small_rows(processor)}
    for text, reward in zip(table["completion"], table["sensor_mse"], strict=True):
        sensors = [part.removesuffix(")").split(" (recorded ") for part in text.split("; ")]
        assert [name.split(":")[0] for name, _ in sensors] == ["sensor 0", "sensor 1", "sensor 2"]
        predicted, truth = (
            np.array([[float(value) for value in values.split(": ")[-1].split(", ")] for values in column])
            for column in zip(*sensors, strict=True)
        )
        assert predicted.shape == truth.shape == (3, 2)
        assert ((predicted - truth) ** 2).mean() == pytest.approx(-reward, abs=1e-3)
        assert tuple(truth.T.ravel().round(3)) in recorded
    assert not list((tmp_path / "completions").glob("*.png"))


def test_frames_and_sensors_are_both_told(tmp_path: Path) -> None:
    train(tmp_path, processor=joint_processor(), rewards=[MAEReward(), SensorMSEReward()], save_strategy="no")
    text = table_of(tmp_path, 1)["completion"][0]
    assert text.startswith("2 frames, mean absolute error ") and "; sensor 2: " in text and "; row 1 of " in text


def test_evaluations_have_pictures_of_their_own(tmp_path: Path) -> None:
    rows = small_rows(joint_processor(), count=4)
    changes = {"eval_dataset": rows, "eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 8}
    train(tmp_path, processor=joint_processor(), save_strategy="no", max_steps=2, **changes)
    names = sorted(file.name for file in (tmp_path / "completions").glob("*.png"))
    assert names == ["completions_00000.png", "completions_00002_eval_1.png", "completions_00002_eval_2.png"]


def pictured(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """Trains; the picture that the completions of each batch name, and what was drawn of them."""
    found: list[tuple[str, bytes]] = []
    make = StepBlockModality.make_readable

    def note(modality: Any, trainer: Any, rows: Any, prompts: Any, completions: Any, *further: Any) -> None:
        make(modality, trainer, rows, prompts, completions, *further)
        (name,) = {text.rpartition(" of ")[2] for text in completions[:PICTURED]}
        found.append((name, (Path(trainer.args.output_dir) / "completions" / name).read_bytes()))

    monkeypatch.setattr(StepBlockModality, "make_readable", note)
    trainer.train()
    return found


def test_every_batch_has_a_picture_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several datasets of an evaluation, too, and of an update that several batches of rollouts are made for."""
    rows = small_rows(small_processor(), count=8)
    several = {"a": rows.select(range(4)), "b": rows.select(range(4, 8))}
    how: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 16}
    how |= {"steps_per_generation": 1, "gradient_accumulation_steps": 2, "updates_per_generation": 1, "max_steps": 2}
    trainer = small_trainer(tmp_path, log_completions=True, eval_dataset=several, save_strategy="no", **how)
    found = pictured(trainer, monkeypatch)
    trainer.evaluate()
    assert [name.removeprefix("completions_0000") for name, _ in found] == [
        "0.png", "0_2.png", "1.png", "1_2.png", *(f"2_eval_{number}.png" for number in (1, 2, 3, 4))
    ]  # fmt: skip
    for name, drawn in found:
        assert (tmp_path / "completions" / name).read_bytes() == drawn, "no later batch takes its place"


def test_prompts_drawn_in_place_of_others_are_not_logged(tmp_path: Path) -> None:
    def alike(predicted: list[torch.Tensor], **_: Any) -> list[float]:
        return [1.0] * len(predicted)

    for rounds in (0, 2):
        train(tmp_path / str(rounds), rewards=alike, max_resampling_rounds=rounds, max_steps=2, save_strategy="no")
    kept, replaced = (tmp_path / str(rounds) / "completions" / "completions_00000.png" for rounds in (0, 2))
    assert kept.read_bytes() == replaced.read_bytes()
    assert table_of(tmp_path / "0", 1).equals(table_of(tmp_path / "2", 1))


@pytest.mark.slow
def test_trackio_shows_the_pictures_in_its_table(tmp_path: Path, repository: Path) -> None:
    logs = run_with_trackio(__name__, tmp_path, repository, max_steps=2, save_strategy="no")
    tables = [entry["completions"]["_value"] for entry in logs if "completions" in entry]
    assert [len(table) for table in tables] == [32, 32, 32], "TRL logs it once more when it has ended"
    for table in tables:
        shown = [row["image"][0]["file_path"] if row["image"] else "" for row in table]
        assert all(shown[:PICTURED]) and not any(shown[PICTURED:])
        (kept,) = (tmp_path / "trackio").rglob(Path(shown[0]).name)
        with Image.open(kept) as drawn:
            assert drawn.size == (3 * SMALLEST, 2 * SMALLEST)
        assert table[0]["completion"].startswith("2 frames, mean absolute error ")


def test_differences_are_those_of_the_answers() -> None:
    turns = [{"role": "assistant", "content": "hm. A: the door is shut"}]
    rows = [{"completion": "the door is open"}] * 2 + [{"prompt": "what?"}]
    marked = differences([turns, "A: the door is open", "A: x"], rows, find_answer=lambda text: text.split("A: ")[-1])
    assert marked == ["the door is ~~open~~ **shut**", "the door is open", None]


def test_what_was_not_recorded_is_left_out() -> None:
    frames = torch.zeros(2, 3, 8, 8)
    row = {"predicted": frames + 0.5, "reference": (frames + 255).to(torch.uint8)}
    row["reference_mask"] = torch.tensor([True, False])
    assert description(row, ["frames"]) == "1 frames, mean absolute error 0.5000: 0.5000"
    assert description(row | {"reference_mask": torch.zeros(2)}, ["frames"]) == "0 frames"


def test_rows_without_a_place_have_no_situation() -> None:
    assert situation({"context": 0}) == ""
    assert situation({"episode": "push/3", "start": np.int64(4)}) == "push/3 from step 4"


def test_large_frames_are_drawn_as_they_are() -> None:
    frames = torch.rand(2, 3, 64, 80)
    drawn = picture({"context": frames, "reference": frames[:1], "predicted": frames[1:]})
    assert drawn.size == (160, 128)
    expected = (frames[1] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(drawn)[64:, 80:], expected)
    assert np.array_equal(np.asarray(drawn)[:64, :80], expected)
