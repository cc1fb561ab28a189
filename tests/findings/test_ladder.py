import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.data.rows import load_episodes
from rlvr_world_hf.evaluation.json_files import write_json
from rlvr_world_hf.findings import ladder as module
from rlvr_world_hf.findings.ladder import ladder_table, measure_ladder
from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.worlds.pusht.ladder import ladder_errors, read_frames, read_states
from tests.tiny import tiny_model, tiny_processor, tiny_sensor_processor


LAWS = {"absolute": ("scripted", "exploring"), "relative": ("scripted", "smooth")}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("RLVR_WORLD_CACHE", str(folder))
        yield folder


def pipeline_of(law: str, *, is_told_agent: bool = False) -> WorldModelPipeline:
    """Two given frames, as one context frame and one observed step, 32 pixels wide."""
    processor = tiny_processor(image_size=32, observed_steps=1, action_law=law, is_told_agent=is_told_agent)
    return WorldModelPipeline(tiny_model(processor), processor)


def measure(law: str, **settings: Any) -> dict[str, Any]:
    few: dict[str, Any] = {"windows": 5, "steps": (1, 3), "horizon": 2, "policies": LAWS[law]}
    return measure_ladder(pipeline_of(law), checkpoint="tiny", **{**few, **settings})


@pytest.fixture(scope="module", params=LAWS)
def measured(request: pytest.FixtureRequest, cache: Path) -> tuple[str, dict[str, Any]]:
    return request.param, measure(request.param)


def recorded(cache: Path, policy: str) -> Any:
    """The stored episodes of a policy of the relative law."""
    found = [load_episodes(folder) for folder in cache.glob("ladder/*/episodes")]
    (episodes,) = [each for each in found if each[0].episode_id.startswith(f"pusht-{policy}-")]
    return episodes


def test_every_row_of_every_policy_is_measured(measured: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    law, record = measured
    assert json.loads(write_json(record, tmp_path / "ladder.json").read_text()) == record
    assert record["form"]["action_law"] == law and record["checkpoint"] == "tiny" and record["windows"] == 5
    assert record["commit"] and record["machine"] and record["sampling_seeds"] == [0] and record["steps"] == [1, 3]
    assert list(record["rows"]) == ["copy_last", "tokenizer_floor", "model"]
    for of_row in record["rows"].values():
        assert tuple(of_row) == LAWS[law]
        for of_policy in of_row.values():
            assert list(of_policy) == ["1", "3"]
            for of_step in of_policy.values():
                assert 0 <= of_step["within"]["mean"] <= of_step["place_within"]["mean"] <= 1
                assert of_step["mae"]["n"] == 5 >= of_step["within"]["n"]
                assert "median" not in of_step["within"]
    copied = record["rows"]["copy_last"]["scripted"]["3"]
    assert copied["block_found"]["mean"] == 1 and copied["agent_error"]["n"] == copied["within"]["n"]
    assert copied["agent_error"]["median"] > 5, "agents move"
    # What a model of random weights predicts is noise.
    assert record["rows"]["model"]["scripted"]["1"]["within"]["mean"] == 0


def test_a_model_that_is_told_the_agent_is_told_no_more() -> None:
    few: dict[str, Any] = {"windows": 5, "steps": (1, 3), "horizon": 2, "policies": ("scripted",)}
    record = measure_ladder(pipeline_of("relative", is_told_agent=True), checkpoint="tiny", **few)
    plain = measure_ladder(pipeline_of("relative"), checkpoint="tiny", **few)
    assert record["form"]["is_told_agent"] and not plain["form"]["is_told_agent"]
    for row in ("copy_last", "tokenizer_floor"):  # the same windows, and the same codec
        assert record["rows"][row] == plain["rows"][row]
    assert record["rows"]["model"]["scripted"]["3"]["mae"]["n"] == 5


def test_it_repeats_without_recording_again(
    measured: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    law, record = measured
    monkeypatch.setattr(module, "held_out_episodes", None)
    assert measure(law)["rows"] == record["rows"]


def test_copying_is_measured_on_windows_spread_over_episodes(cache: Path) -> None:
    record = measure("relative", policies=("smooth",))
    episodes = recorded(cache, "smooth")
    assert len(episodes) == 2 and len(episodes[0]) == 40
    copied = record["rows"]["copy_last"]["smooth"]["3"]
    # Of the five windows, four are of the first episode; two frames are given.
    starts = [(episodes[0], start) for start in (0, 10, 20, 30)] + [(episodes[1], 0)]
    last = [read_frames(torch.from_numpy(np.array(episode.frames[at + 1])) / 255) for episode, at in starts]
    true = [read_states(torch.from_numpy(np.array(episode.states[at + 4]))) for episode, at in starts]
    errors = ladder_errors(torch.stack(last), torch.stack(true))
    assert copied["agent_error"]["n"] == 5, "none stands half in a wall"
    for name in ("agent_error", "block_error", "angle_error"):
        assert copied[name]["mean"] == pytest.approx(errors[name].mean().item(), rel=1e-3, abs=1e-3)
        assert copied[name]["median"] == pytest.approx(errors[name].median().item(), rel=1e-3, abs=1e-3)
    maes = [
        np.abs(episode.frames[at + 4].astype(float) - episode.frames[at + 1].astype(float)).mean() / 255
        for episode, at in starts
    ]
    assert copied["mae"]["mean"] == pytest.approx(np.mean(maes), rel=1e-4)


def test_windows_whose_truth_cannot_be_read_do_not_count(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def read_none_at_first(frames: torch.Tensor) -> torch.Tensor:
        read = read_frames(frames)
        read[0] = torch.nan
        return read

    monkeypatch.setattr(module, "read_frames", read_none_at_first)
    record = measure("relative", policies=("scripted",), windows=4)
    copied = record["rows"]["copy_last"]["scripted"]["1"]
    assert copied["within"]["n"] == copied["block_found"]["n"] == 3 and copied["mae"]["n"] == 4


def test_samples_depend_on_the_seed(cache: Path) -> None:
    few: dict[str, Any] = {"policies": ("scripted",), "windows": 2, "steps": (1,), "temperature": 1.0}
    first, again, other = (measure("absolute", **few, seed=seed)["rows"]["model"] for seed in (0, 0, 1))
    assert first == again != other


def test_the_yardstick_is_trained_once_and_has_a_row(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    settings: dict[str, Any] = {"yardstick_episodes": 6, "yardstick_updates": 15, "windows": 4}
    record = measure("relative", **settings)
    assert record["yardstick"]["episodes"] == 6 and record["yardstick"]["updates"] == 15
    assert list(record["rows"])[-1] == "yardstick"
    row = record["rows"]["yardstick"]["scripted"]["1"]
    copied = record["rows"]["copy_last"]["scripted"]["1"]
    assert row["agent_error"]["mean"] < copied["agent_error"]["mean"] and "mae" not in row
    monkeypatch.setattr(module, "train_state_model", None)
    again = measure("relative", **settings)
    assert again["rows"] == record["rows"] and again["yardstick"] == record["yardstick"]


def test_the_table_has_a_line_for_each_policy_and_row(measured: tuple[str, dict[str, Any]]) -> None:
    law, record = measured
    header, rule, *lines = ladder_table(record).splitlines()
    assert header.startswith("| moves | row | block within 20 units, 20° after 1 / 3 |")
    body, told = lines[: 3 * len(LAWS[law])], lines[3 * len(LAWS[law]) :]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in body]
    assert [cell[:2] for cell in cells] == [[policy, row] for policy in LAWS[law] for row in record["rows"]]
    assert {len(cell) for cell in cells} == {rule.count("---")}
    shares = [record["rows"]["copy_last"]["scripted"][step]["within"]["mean"] for step in ("1", "3")]
    assert cells[0][2] == " / ".join(f"{share:.2f}" for share in shares)
    assert "5 held-out windows a policy" in "".join(told) and "temperature 0" in "".join(told)
    last = record["rows"]["model"]["scripted"]["3"]
    assert cells[2][5] == f"{last['agent_error']['median']:.1f}" if "agent_error" in last else "-"


def test_what_was_not_found_anywhere_has_no_error(measured: tuple[str, dict[str, Any]]) -> None:
    found = {"mean": 0.0, "n": 4}
    nothing = {"within": found, "place_within": found, "block_found": found, "mae": {"mean": 0.25, "n": 4}}
    record = {**measured[1], "rows": {"model": {"scripted": {"1": {}, "3": nothing}}}}
    cells = [cell.strip() for cell in ladder_table(record).splitlines()[2].strip("|").split("|")]
    assert cells == ["scripted", "model", "- / 0.00", "- / 0.00", "0.00", "-", "-", "-", "0.2500"]


def test_what_cannot_be_measured_is_refused() -> None:
    for wrong in ({"windows": 0}, {"steps": ()}, {"steps": (0,)}, {"horizon": 0}):
        with pytest.raises(ValueError, match="at least one window, decision and predicted frame"):
            measure("absolute", **wrong)
    processor = tiny_sensor_processor()
    with pytest.raises(ValueError, match="tiny to be a world model of PushT"):
        measure_ladder(WorldModelPipeline(tiny_model(processor), processor), checkpoint="tiny")
    with pytest.raises(ValueError, match="among scripted, exploring for the absolute law"):
        measure("absolute", policies=("smooth",))
