import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from rlvr_world_hf.findings.applications import long_rollouts as long_rollouts_module
from rlvr_world_hf.findings.applications.long_rollouts import long_rollouts
from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.runs.kinds import kind_of
from rlvr_world_hf.runs.recipe import load_recipe


ROWS = ["copy_last", "tokenizer_floor", "tokenizer_floor_fed_back", "base", "control", "rlvr"]
FEW = {"windows": 2, "frames": 5}


@pytest.fixture(scope="module")
def recipes(whole_run, tmp_path_factory):
    """A finished run, and a second one of other weights."""
    other = dataclasses.replace(whole_run, seed=1, output_dir=tmp_path_factory.mktemp("other"))
    for place, source in {"base": "rlvr", "control": "base", "rlvr": "control"}.items():
        (other.output_dir / place).symlink_to(whole_run.output_dir / source)
    return [whole_run, other]


@pytest.fixture(scope="module")
def measured(recipes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    return folder, json.loads(long_rollouts(recipes, folder=folder, **FEW).read_text())


def starts_of(recipe):
    """The two windows: of the starts 0, 1, 2 of the one test episode, 0 and 1."""
    (episode,) = kind_of(recipe).stored("test")
    frames = np.asarray(episode.frames, np.float64) / 255
    return [
        (frames[start : start + 1], episode.actions[start : start + 6].copy(), frames[start + 1 :][:5])
        for start in (0, 1)
    ]


def test_every_row_of_every_seed_is_told(measured):
    _, record = measured
    assert record["finding"] == "long_rollouts" and record["recipe"] == "pusht/debug" and record["n"] == 2
    assert record["training_seeds"] == [0, 1] and record["sampling_seeds"] == [0] and "2 training" in record["reason"]
    assert record["protocol"] == {"frames": 5, "horizon": 2, "temperature": 0.0}
    assert list(record["rows"]) == list(record["curves"]) == ROWS
    for row, of_row in record["rows"].items():
        assert {"mae", "mae_at_1", "mae_at_5", "repetition_rate"} <= of_row.keys() and "mae_at_10" not in of_row
        curve = record["curves"][row]["mae"]
        assert len(curve["mean"]) == len(curve["std"]) == 5
        for name, frame in (("mae_at_1", 0), ("mae_at_5", 4)):
            values = of_row[name]["values"]
            assert of_row[name]["mean"] == pytest.approx(np.mean(values)) == pytest.approx(curve["mean"][frame])
            assert of_row[name]["std"] == pytest.approx(np.std(values, ddof=1)) == pytest.approx(curve["std"][frame])
        assert of_row["mae"]["mean"] == pytest.approx(np.mean(curve["mean"]))


def test_copy_last_is_the_first_frame_held(recipes, measured):
    errors = [np.abs(future - given).mean((1, 2, 3)) for given, _, future in starts_of(recipes[0])]
    of_copy, curves = measured[1]["rows"]["copy_last"], measured[1]["curves"]["copy_last"]
    np.testing.assert_allclose(curves["mae"]["mean"], np.mean(errors, axis=0), atol=1e-6)
    assert curves["repetition_rate"]["mean"] == [1.0] * 5 and of_copy["mae"]["std"] == 0


def test_a_checkpoint_is_fed_its_own_frames(recipes, measured):
    errors = []
    for given, actions, future in starts_of(recipes[0]):
        pipeline, predicted = WorldModelPipeline.from_pretrained(recipes[0].output_dir / "rlvr"), given.astype("f4")
        for done in (0, 2, 4):
            ahead = min(2, 5 - done)
            window = pipeline(predicted[-1:], actions[done : done + ahead], horizon=ahead, temperature=0.0)
            predicted = np.concatenate([predicted, window[0].numpy()])
        errors.append(np.abs(predicted[1:] - future).mean((1, 2, 3)))
    of_rlvr = measured[1]["rows"]["rlvr"]
    for name, frame in (("mae_at_1", 0), ("mae_at_5", 4)):
        assert of_rlvr[name]["values"][0] == pytest.approx(np.mean(errors, axis=0)[frame], abs=1e-6)
    assert of_rlvr["mae"]["values"][0] == pytest.approx(np.mean(errors), abs=1e-6)


def test_a_floor_fed_back_is_the_floor_within_the_first_window(measured):
    floor, fed_back = (measured[1]["curves"][name]["mae"]["mean"] for name in ROWS[1:3])
    assert fed_back[:2] == floor[:2] and fed_back[2:] != floor[2:]


def test_pieces_are_reused_as_long_as_nothing_they_hang_on_changes(recipes, measured, tmp_path, monkeypatch):
    folder, record = measured
    files = {file: file.stat().st_mtime_ns for file in Path(folder, "pieces").iterdir()}
    assert len(files) == 3 + 2 * 3, "both runs have the same codec"
    read = []
    real = WorldModelPipeline.from_pretrained

    def load(place, **options):
        read.append(place)
        return real(place, **options)

    monkeypatch.setattr(long_rollouts_module.WorldModelPipeline, "from_pretrained", load)
    assert json.loads(long_rollouts(recipes, folder=folder, **FEW).read_text()) == record
    assert not read and {file: file.stat().st_mtime_ns for file in files} == files
    gone = next(file for file in files if file.name.startswith("control-seed-1"))
    gone.unlink()
    assert json.loads(long_rollouts(recipes, folder=folder, **FEW).read_text())["rows"] == record["rows"]
    assert [place.parent.name + "/" + place.name for place in read] == [f"{recipes[1].output_dir.name}/control"]
    long_rollouts(recipes[:1], folder=folder, windows=1, frames=5)
    assert len(read) == 1 + len(ROWS), "other windows are other pieces"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": 0}, "at least one run, window and frame.* got 2, 0, 30 and 0.0"),
        ({"frames": 0}, "got 2, 120, 0 and 0.0"),
        ({"temperature": -1.0}, "a temperature of 0 or more, got 2, 120, 30 and -1.0"),
        ({}, "No test episode has 30 frames to predict; ask for fewer `frames`: .* the longest of 1 has 8"),
    ],
)
def test_impossible_options_are_refused(recipes, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        long_rollouts(recipes, folder=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_no_run_and_a_missing_checkpoint_are_refused(recipes, tmp_path):
    with pytest.raises(ValueError, match="at least one run"):
        long_rollouts([], folder=tmp_path)
    elsewhere = dataclasses.replace(recipes[0], output_dir=tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        long_rollouts([elsewhere], folder=tmp_path, **FEW)


def test_a_world_of_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a world of frames, got the recipe textworld/debug"):
        long_rollouts([load_recipe("textworld/debug")], folder=tmp_path)
