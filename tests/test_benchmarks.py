"""What is timed runs, at sizes of a moment."""

import json
import runpy
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr_world_hf.training import modality


@pytest.fixture
def workloads(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import workloads

    yield workloads
    sys.modules.pop("workloads")


def test_a_step_of_either_way(workloads: Any, tmp_path: Path) -> None:
    sizes = workloads.Workload(prompt_length=12, completion_length=6, prompts=2, group_size=4)
    assert sizes.tokens == {"ours": 2 * 12 + 8 * 6, "trl": 8 * 12 + 8 * 6}
    for way in workloads.WAYS:
        step = workloads.Step(way, sizes, tmp_path / way)
        before = [parameter.clone() for parameter in step.trainer.model.parameters()]
        seconds = step.run()
        assert 0 < seconds["rollout"] < seconds["step"]
        assert any((old != new).any() for old, new in zip(before, step.trainer.model.parameters(), strict=True))


def test_frames_of_either_way(workloads: Any) -> None:
    sizes = workloads.Workload(prompt_length=12, completion_length=48, prompts=1, group_size=2)
    for way in workloads.WAYS:
        assert workloads.Frames(way, sizes).run()["rollout"] > 0


def test_the_reward_of_either_way(workloads: Any) -> None:
    for way in workloads.WAYS:
        assert workloads.Reward(way, prompts=1, group_size=2, horizon=1).run()["reward"] > 0


@pytest.fixture
def bench(repository: Path, workloads: Any) -> Any:
    import run

    yield run
    sys.modules.pop("run")


def test_the_table_gives_ratio_bar_and_medians(bench: Any) -> None:
    measured = [{"ours": {"step": ours}, "trl": {"step": 6.0}} for ours in (1.0, 2.0, 3.0)]
    summary = bench.summarize(measured, {"step": 2.2})
    assert summary["step"]["ratio"] == 3.0 and summary["step"]["std"] == pytest.approx(2.0817, abs=1e-4)
    summary |= {"floor": {"step": 0.5}, "peak_memory": {"ours": 2**20, "trl": 2**21}, "peak_memory_ratio": 0.5}
    text = bench.table({"workloads": {"p": summary}, "machine": "two cores", "commit": "0123456789abcdef"})
    assert "| `p` | step | 3.00 ± 2.08 | 2.20 | 2.00 | 6.00 | - | 0.50 | 4.0 |" in text
    assert "| `p` | peak memory | 2.00 as small | 1.00 | 1 MiB | 2 MiB | - | - | - |" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {10}
    assert text.endswith("two cores; commit `0123456789`.\n")
    assert bench.units("p340_c168_g16") == 4 * 16 * 168 and bench.units("pusht.reward") == 4 * 16 * 4


def test_floors_count_each_prompt_and_each_completion_once(bench: Any, workloads: Any) -> None:
    rates = {"matmul_flops": 1e9, "copy_bytes": 1e9}
    sizes = {
        size: workloads.Workload(prompt_length=300, completion_length=20, prompts=1, group_size=size)
        for size in (1, 8)
    }
    floors = {size: bench.floors(workload, rates) for size, workload in sizes.items()}
    assert 320 < floors[1]["update"] * 1e9 / (4 * 2 * 5e6) < 360  # tokens, of five million weights each
    assert floors[8]["update"] / floors[1]["update"] == pytest.approx((300 + 8 * 20) / 320, rel=0.1)
    of_reward = bench.reward_floor(workloads.Reward("ours", prompts=1, group_size=2, horizon=1), rates)
    assert of_reward["reward"] > 0


def test_a_curve_goes_on_where_it_was_left(bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured = []

    def measure_point(grows: str, workload: Any, pairs: int) -> list[dict[str, Any]]:
        measured.append((grows, getattr(workload, grows)))
        if len(measured) == 3:
            raise KeyboardInterrupt
        times = {"rollout": 1.0, "update": 1.0, "step": 2.0, "std": 0.0, "pairs": pairs, "commit": "abc"}
        return [{"grows": grows, "size": measured[-1][1], "way": way, **times} for way in bench.WAYS]

    monkeypatch.setattr(bench, "HERE", tmp_path)
    monkeypatch.setattr(bench, "measure_point", measure_point)
    monkeypatch.setattr(bench, "renew_page", lambda results: None)
    monkeypatch.setattr(sys, "argv", ["run.py", "--resume", "--only", "curves"])
    with pytest.raises(KeyboardInterrupt):
        bench.main()
    bench.main()
    wanted = [(grows, getattr(size, grows)) for grows, sizes in bench.curves().items() for size in sizes]
    assert measured == [*wanted[:3], *wanted[2:]]
    assert len((tmp_path / "curves.csv").read_text().splitlines()) == 1 + 2 * len(wanted)
    assert (tmp_path / "curves.png").exists()


@pytest.mark.slow
def test_the_peak_of_a_step_is_its_own(bench: Any, workloads: Any) -> None:
    held = torch.ones(2**30)  # 4 GiB, which a process that is started from here does not have
    sizes = workloads.Workload(prompt_length=200, completion_length=20, prompts=1, group_size=16)
    peaks = {way: bench.peak_memory(way, sizes) for way in workloads.WAYS}
    assert 2**20 < peaks["ours"] < peaks["trl"] < held.nbytes


def test_the_page_has_what_was_measured_and_no_bar_is_missed(repository: Path, bench: Any) -> None:
    file, page = repository / "benchmarks" / "results.json", (repository / "docs" / "performance.md").read_text()
    results = json.loads(file.read_text()) if file.exists() else {}
    table = bench.table(results) if results else "Nothing is committed yet: `make bench` puts its table here.\n"
    assert f"<!-- benchmarks -->\n\n{table}\n<!-- end of benchmarks -->" in page
    for name, summary in results.get("workloads", {}).items():
        _, bar, sizes = bench.bars()[name]
        for part, least in bar.items():
            assert summary[part]["bar"] == pytest.approx(least) and len(summary[part]["pairs"]) >= 5
            assert summary[part]["ratio"] >= least
        assert sizes is None or "step" not in bar or summary["peak_memory_ratio"] <= 1
    steps = {point["size"]: point["step"] for point in results.get("curves", []) if _is_group_of_ours(point)}
    assert not results or steps[16] <= 4 * steps[2]  # prompt 1,373, completion 160


def test_what_the_pages_say_of_it_is_what_was_measured(repository: Path, bench: Any) -> None:
    workloads = json.loads((repository / "benchmarks" / "results.json").read_text())["workloads"]
    steps = [summary["step"]["ratio"] for summary in workloads.values() if "step" in summary]
    above = {
        (name, part): statistics.median(pair["ours"] for pair in summary[part]["pairs"]) / floor
        for name, summary in workloads.items()
        for part, floor in summary["floor"].items()
        if part in summary
    }
    reward = above.pop(("pusht.reward", "reward"))
    readme, page = (
        " ".join((repository / name).read_text(encoding="utf-8").split())
        for name in ("README.md", "docs/performance.md")
    )
    assert f"a step of GRPO is {min(steps):.1f} to {max(steps):.0f} times as fast as plain TRL's" in readme
    spread = f"{min(above.values()):.1f} to {max(above.values()):.1f} times their floors"
    assert f"The parts take {spread}, the reward {reward:.1f}." in page


def _is_group_of_ours(point: dict[str, Any]) -> bool:
    return point["grows"] == "group_size" and point["way"] == "ours"


def test_the_step_of_a_gpu_at_small_sizes(
    repository: Path, workloads: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--small", "--output", str(file)])
    monkeypatch.setattr(modality, "rollout", modality.rollout)  # the script replaces it for good
    runpy.run_path(str(repository / "benchmarks" / "gpu.py"), run_name="__main__")
    result = json.loads(file.read_text())
    assert len(result["seconds_a_step"]) == 2 and (result["tests"] is None) == (not torch.cuda.is_available())
    assert set(result["mean_seconds_of_parts"]) > {"encode and sample", "decode", "rewards"}
