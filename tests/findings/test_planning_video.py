from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rlvr_world_hf.findings.planning_video import LABEL, SIDE, draw_videos
from rlvr_world_hf.worlds.pusht.task import PushTTask


@pytest.mark.parametrize("with_ceiling", [False, True])
@pytest.mark.parametrize("has_to_move", [False, True])
def test_best_and_worst_show_goal_and_ways_to_decide(tmp_path: Path, with_ceiling: bool, has_to_move: bool) -> None:
    tasks = {seed: PushTTask(seed, image_size=32, lead=2, goal_steps=2) for seed in (1, 2)}
    path = 50.0 * has_to_move

    def piece(start: int, *, steps: int, is_success: bool) -> dict[str, object]:
        actions = tasks[start].solution[:steps].tolist()
        attempt = {"is_success": is_success, "position_distance": 9.0, "block_path": path, "block_turn": 0.0}
        return {"start": start, **attempt, "actions": actions}

    names = ["base", "rlvr", *["simulator"] * with_ceiling]
    attempts = {name: [[piece(1, steps=1, is_success=False), piece(2, steps=2, is_success=True)]] for name in names}
    draw_videos(attempts, tasks.__getitem__, tmp_path)
    for name, start, steps in (("best", 2, 2), ("worst", 1, 1)):
        with Image.open(tmp_path / f"planning_{name}.gif") as film:
            assert film.n_frames == 1 + steps
            assert film.size == (SIDE * (1 + len(names)), SIDE + LABEL)
            film.seek(steps)
            shown = np.asarray(film.convert("RGB"))
        goal = np.kron(tasks[start].goal_frame.transpose(1, 2, 0), np.ones((8, 8, 1)))  # 32 -> 256
        near = np.abs(shown[LABEL:, :SIDE].astype(float) - goal)
        assert near.mean() < 12, "the goal is the first panel"


@pytest.mark.parametrize("moved", [(50.0, 0.0), (5.0, 0.4)])
def test_a_start_whose_block_is_there_already_is_not_shown(tmp_path: Path, moved: tuple[float, float]) -> None:
    task = PushTTask(1, image_size=32, lead=2, goal_steps=2)

    def piece(path: float, turn: float, *, steps: int) -> dict[str, object]:
        far = {"position_distance": 9.0, "block_path": path, "block_turn": turn}
        return {"start": 1, "is_success": True, **far, "actions": task.solution[:steps].tolist()}

    pieces = [piece(5.0, 0.3, steps=1), piece(*moved, steps=2)]
    draw_videos({name: [pieces] for name in ("base", "rlvr")}, lambda _: task, tmp_path)
    with Image.open(tmp_path / "planning_best.gif") as film:
        assert film.n_frames == 1 + 2
