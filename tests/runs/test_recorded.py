"""Recorded episodes, of one's own and of real robots, through all stages in one command."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rlvr_world_hf import WorldModelPipeline
from rlvr_world_hf.commands import cli
from rlvr_world_hf.data.folder import UnusableEpisodesError
from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.runs.kinds import kind_of
from rlvr_world_hf.runs.kinds.kind import SPLITS
from rlvr_world_hf.runs.recipe import load_recipe
from rlvr_world_hf.runs.stage import find_stage
from rlvr_world_hf.runs.stages.collect import collect


FEW_UPDATES = {
    "tokenizer.max_steps": 2,
    "pretrain.max_steps": 2,
    "pretrain.eval_steps": 2,
    "grpo.max_steps": 2,
    "grpo.save_steps": 2,
    "grpo.logging_steps": 1,
    "control.max_steps": 2,
    "evaluate.windows": 2,
    "evaluate.validation_windows": 2,
    "predict.examples": 1,
}


@pytest.fixture
def own_episodes(tmp_path: Path) -> Path:
    """A square that goes where the actions say: four episodes as arrays, of different lengths, and one as a video."""
    folder = tmp_path / "mine"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, length in enumerate((8, 9, 10, 11, 12)):
        actions = rng.integers(-2, 3, (length, 2)).astype(np.float32)
        frames = np.full((length, 32, 32, 3), 30, np.uint8)
        for time, (x, y) in enumerate(np.clip(14 + np.cumsum(actions, axis=0), 0, 24).astype(int)):
            frames[time, y : y + 8, x : x + 8] = 220
        if number < 4:
            np.savez(folder / f"{number}.npz", frames=frames, actions=actions)
            continue
        video = cv2.VideoWriter(str(folder / f"{number}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (32, 32))
        for frame in frames:
            video.write(frame[..., ::-1])
        video.release()
        np.savetxt(folder / f"{number}.csv", actions, delimiter=",")
    return folder


def command(recipe: str, folder: Path, output: Path, *more: str) -> list[str]:
    keys = {**FEW_UPDATES, "collect.folder": folder, "output_dir": output}
    return ["run", recipe, *(word for name, value in keys.items() for word in (f"--{name}", str(value))), *more]


def assert_finished(output: Path, *, world: str, action_dims: int) -> None:
    results = read_results(output / "results.json")
    assert {"copy_last", "tokenizer_floor", "base", "control", "rlvr"} <= results["rows"].keys()
    assert "mae" in results["rows"]["rlvr"] and "agent_position_mae" not in results["rows"]["rlvr"]
    card = (output / "README.md").read_text()
    assert f"world model of {world}" in card and "PushT" not in card and (output / "strip.png").stat().st_size
    pipeline = WorldModelPipeline.from_pretrained(output / "rlvr")
    assert len(pipeline.processor.action_low) == action_dims


def test_a_folder_becomes_a_world_model_in_one_command(cache, own_episodes: Path, tmp_path: Path) -> None:
    words = command("folder/debug", own_episodes, tmp_path / "out", "--collect.alignment", "led_to")
    assert cli.main(words) == 0
    assert_finished(tmp_path / "out", world="recorded episodes", action_dims=2)


@pytest.mark.slow  # a folder of one's own goes the same way above; what these worlds state is tested in their rooms
@pytest.mark.parametrize(
    ("name", "world", "action_dims"), [("metaworld", "Meta-World", 16), ("bridge", "BridgeData", 7)]
)
def test_real_robots_go_through_all_stages(cache, shared, tmp_path, name: str, world: str, action_dims: int) -> None:
    assert cli.main(command(f"{name}/debug", shared / "data" / name, tmp_path)) == 0
    assert_finished(tmp_path, world=world, action_dims=action_dims)


@pytest.fixture
def own_recipe(cache, own_episodes: Path, tmp_path: Path) -> Any:
    def make(**changes: Any) -> Any:
        overrides = {"output_dir": str(tmp_path / "out"), "collect.folder": str(own_episodes)}
        return load_recipe("folder/debug", overrides=overrides | {"collect.alignment": "taken_at"} | changes)

    return make


def test_splits_are_made_by_episode_and_changed_data_is_read_again(own_recipe, own_episodes: Path) -> None:
    recipe = own_recipe(**{"collect.validation": 1, "collect.test": 0.4})
    collect(recipe)
    names = {split: [episode.episode_id for episode in kind_of(recipe).stored(split)] for split in SPLITS}
    assert [len(of_split) for of_split in names.values()] == [2, 1, 2]
    assert sorted(sum(names.values(), [])) == ["0", "1", "2", "3", "4"]
    before = find_stage("grpo").fingerprint(recipe)
    (own_episodes / "4.csv").unlink()
    (own_episodes / "4.mp4").unlink()
    assert find_stage("grpo").fingerprint(recipe) != before
    collect(recipe)
    assert sum(len(kind_of(recipe).stored(split)) for split in SPLITS) == 4


def test_episodes_too_short_for_a_window_are_told(own_recipe) -> None:
    with pytest.raises(
        UnusableEpisodesError, match="1 problems.*\n  0.npz: `frames`: expected at least 9 frames, got 8"
    ):
        collect(own_recipe(**{"windows.horizon": 8}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"collect.test": 5}, "more than 6 episodes .* got 5; bring more or set fewer aside"),
        ({"collect.train": 4}, "at most the 3 episodes that are left of 5, got 4"),
        ({"collect.alignment": None}, "--collect.alignment taken_at"),
        ({"collect.folder": None}, "--collect.folder PATH"),
    ],
)
def test_what_cannot_be_split_or_read_is_told(own_recipe, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UnusableEpisodesError, match=told):
        collect(own_recipe(**changes))


@pytest.mark.parametrize(("name", "source"), [("metaworld", "thuml/iVideoGPT"), ("bridge", "octo-models/octo")])
def test_a_missing_folder_ends_the_command_with_its_source(cache, tmp_path, capsys, name: str, source: str) -> None:
    assert cli.main(command(f"{name}/debug", tmp_path / "nowhere", tmp_path / "out")) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("rlvr-world: Expected a folder of episodes at") and source in message
    assert "--collect.folder PATH" in message
