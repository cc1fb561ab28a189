"""What is timed runs, at sizes of a moment."""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.rollouts import decoder
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


def test_a_step_of_either_way_with_completions_that_end(workloads: Any, tmp_path: Path) -> None:
    sizes = workloads.Workload(
        prompt_length=12, prompt_spread=10, completion_length=6, longest=12, prompts=3, group_size=4, micro_batch=4
    )
    assert sizes.prompt_lengths == [7, 12, 17]
    assert [len(prompt.split()) for prompt in workloads.random_prompts(sizes)] == [7, 12, 17]
    for way in workloads.WAYS:
        step = workloads.Step(way, sizes, tmp_path / way)
        assert step.trainer.eos_token_ids == [workloads.END]
        learned: list[int] = []
        loss = step.trainer.compute_loss

        def compute_loss(model: Any, batch: Any, learned: list[int] = learned, loss: Any = loss) -> Any:
            learned.append(int(batch["completion_mask"].sum()))
            return loss(model, batch)

        step.trainer.compute_loss = compute_loss
        first, second = step.run(), step.run()
        assert len(learned) == 6 and first["mean_length"] == sum(learned[:3]) / 12 != sum(learned[3:]) / 12
        assert 1 <= first["mean_length"] <= 12 and 0 < second["rollout"] < second["step"]


def test_completions_that_end_have_the_length_that_is_said(workloads: Any) -> None:
    ids = torch.randint(1, workloads.END, (4, 100), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ends = workloads.build_ending_model()(ids).logits.softmax(dim=-1)[..., workloads.END]
    assert ends.std() < 0.1 * ends.mean()
    chance = ends.mean().item()
    assert (1 - (1 - chance) ** 200) / chance == pytest.approx(80, abs=4)  # the mean of those cut off after 200
    assert workloads.build_model().generation_config.eos_token_id is None  # and here none ends


@pytest.mark.slow
def test_candidates_of_either_code(workloads: Any, bench: Any, tmp_path: Path) -> None:
    said = {way: workloads.Candidates(way, tmp_path / way, candidates=3, calls=1).run() for way in workloads.WAYS}
    assert all(of_way["planning"] > 0 and of_way["frames"].shape == (3, 4, 3, 64, 64) for of_way in said.values())
    found = bench.beside_seconds([said], None)
    assert found["differences"]["mean"] < 0.01
    assert all(0 < peak < 2**30 for peak in found["peak_memory"].values())


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
    made = {"p340_c168_g16": 4 * 16 * 168, "pusht.reward": 4 * 16 * 4, "planning": 64 * 4, "elsewhere": None}
    assert {name: bench.units(name, {}) for name in made} == made
    assert bench.units("text_mixed", {"mean_length": {"ours": 75.5, "trl": 80.0}}) == 8 * 16 * 75.5


def test_the_table_tells_parts_without_a_bar_and_wanted_floors(bench: Any) -> None:
    summary = bench.summarize([{"ours": {"rollout": 1.0}, "trl": {"rollout": 3.0}}], {"rollout": None})
    summary["rollout"]["above_floor"] = 2.4
    summary |= {"floor": {"rollout": 0.5}, "peak_memory": {"ours": 2**20, "trl": 2**21}, "peak_memory_ratio": 0.5}
    text = bench.table({"workloads": {"p": summary}, "machine": "two cores", "commit": "0123456789abcdef"})
    assert "| `p` | rollout | 3.00 | - | 1.00 | 3.00 | - | 0.50 | 2.0 (wanted: 2.4) |" in text
    assert "| `p` | peak memory | 2.00 as small | - | 1 MiB | 2 MiB | - | - | - |" in text


def test_lengths_and_differences_are_recorded(bench: Any) -> None:
    measured = [
        {way: {"mean_length": length} for way, length in zip(bench.WAYS, pair, strict=True)}
        for pair in [(78.0, 84.0), (80.0, 82.0)]
    ]
    assert bench.beside_seconds(measured, bench.P340) == {}
    assert bench.beside_seconds(measured, bench.MIXED) == {"mean_length": {"ours": 79.0, "trl": 83.0}}
    frames = np.zeros((2, 4, 3, 8, 8), np.float32)
    said = {"peak_memory": 8, "dtype": "torch.float32"}
    ours, before = said | {"frames": frames}, said | {"peak_memory": 4, "frames": frames.copy()}
    before["frames"][0, 0] = 0.5
    found = bench.beside_seconds([{"ours": ours, "trl": before}], None)
    assert found["peak_memory_ratio"] == 2.0
    assert found["differences"] == {
        "what": "of colours in [0, 1], between the frames of both ways",
        "mean": 0.5 / 8,
        "largest": 0.5,
        "share_of_frames_within_1/255": 7 / 8,
    }


def test_floors_count_each_prompt_and_each_completion_once(bench: Any, workloads: Any) -> None:
    rates = {"matmul_flops": 1e9, "copy_bytes": 1e9}
    sizes = {
        size: workloads.Workload(prompt_length=300, completion_length=20, prompts=1, group_size=size)
        for size in (1, 8)
    }
    floors = {size: bench.floors(workload, rates) for size, workload in sizes.items()}
    assert 320 < floors[1]["update"] * 1e9 / (4 * 2 * 5e6) < 360  # tokens, of five million weights each
    assert floors[8]["update"] / floors[1]["update"] == pytest.approx((300 + 8 * 20) / 320, rel=0.1)
    mixed = workloads.Workload(prompt_length=300, prompt_spread=200, completion_length=20, longest=50, prompts=2)
    even = workloads.Workload(prompt_length=300, completion_length=20, prompts=2)
    more = bench.floors(mixed, rates)["update"] / bench.floors(even, rates)["update"]
    assert 1 < more < 1.05  # the longer prompt attends to more than the shorter saves
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
            assert least is None or summary[part]["ratio"] >= least
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


@pytest.fixture
def gpu(repository: Path, workloads: Any) -> Any:
    import gpu

    yield gpu
    sys.modules.pop("gpu")


PIECE = """
import json, sys, time
sys.path.insert(0, {folder!r})
from pathlib import Path
from gpu import put
piece, file = sys.argv[1], Path(sys.argv[3])
put(file, piece, {{"small": "--small" in sys.argv, "part": 1}})
Path(file.parent, "calls").open("a").write(piece + " ")
if piece == "exactness" and not Path(file.parent, "mended").exists():
    raise ValueError("a piece that fails")
if piece == "step" and not Path(file.parent, "mended").exists():
    time.sleep(60)
"""


def test_pieces_of_a_gpu_go_on_where_they_were_left(gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gpu_pieces.py").write_text(PIECE.format(folder=str(gpu.HERE)))
    file = tmp_path / "gpu.json"
    call = ["gpu.py", "--output", str(file), "--piece-limit", "5"]
    monkeypatch.setattr(gpu, "HERE", tmp_path)
    monkeypatch.setattr(sys, "argv", call)
    with pytest.raises(SystemExit, match="Not measured: exactness, step."):
        gpu.main()
    result = json.loads(file.read_text())
    assert [*result] == ["targets", *gpu.PIECES]
    assert result["exactness"]["last_lines"][-1] == "ValueError: a piece that fails"
    assert result["step"]["error"] == "It had not ended after 5 seconds." and result["step"]["part"] == 1
    (tmp_path / "mended").touch()
    gpu.main()
    assert (tmp_path / "calls").read_text().split() == [*gpu.PIECES, "exactness", "step"]
    assert not any("error" in json.loads(file.read_text())[piece] for piece in gpu.PIECES)
    monkeypatch.setattr(sys, "argv", [*call, "--only", "trl", "tests", "--again"])
    gpu.main()
    monkeypatch.setattr(sys, "argv", [*call, "--only", "trl", "tests", "--small"])  # of other sizes
    gpu.main()
    assert (tmp_path / "calls").read_text().split()[-4:] == ["trl", "tests"] * 2
    monkeypatch.setattr(sys, "argv", [*call, "--again", "--limit", "10"])
    with pytest.raises(SystemExit, match=f"Not measured: {', '.join(gpu.PIECES)}."):
        gpu.main()


@pytest.fixture
def pieces(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    import gpu_pieces

    monkeypatch.setattr(modality, "rollout", modality.rollout)  # a piece replaces it for good
    yield gpu_pieces
    sys.modules.pop("gpu_pieces")


def test_pieces_of_a_gpu_at_small_sizes(pieces: Any) -> None:
    sizes = {"small": True, "prompts": 4, "horizon": 2, "micro_batch": 16, "steps": 2, "frames": 64}
    found: dict[str, dict[str, Any]] = {}
    for piece in ("exactness", "step", "trl"):
        found[piece] = {}
        getattr(pieces, piece)(argparse.Namespace(**sizes), found[piece].update)
    exactness, step, trl = found.values()
    assert exactness["sampling_of_texts"]["answers"] == 12
    if pieces.DEVICE == "cpu":  # then it is compared with itself
        assert exactness["sampling_greedy"]["other_completions"] == exactness["gradients"]["largest_difference"] == 0
    assert len(step["seconds_a_step"]) == 2 and step["mean_seconds_a_step"] == step["seconds_a_step"][1]
    assert set(step["mean_seconds_of_parts"]) > {"encode and sample", "decode", "rewards"}
    assert set(trl["times_as_fast"]) == {"rollout", "update", "step"}
    assert {run["mean_length"] for run in trl["measured"]["trl"]["all_seconds"]} == {58.0}


def test_other_samples_are_counted_and_scores_compared_up_to_them(pieces: Any) -> None:
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    scores = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    other = torch.tensor([[1, 2, 3], [4, 9, 6]]), torch.tensor([[0.0, 0.0, 0.25], [0.125, 3.0, 3.0]])
    found = pieces.compare_samples([ids, scores], [*other])
    assert found["other_completions"] == 1 and found["largest_difference_of_log_probabilities"] == 0.25


def test_a_junit_file_is_read(pieces: Any, tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "import pytest\n\ndef test_a(): pass\n\ndef test_b(): assert 1 == 2\n\n"
        "@pytest.fixture\ndef broken(): raise OSError('no device')\n\ndef test_c(broken): pass\n\n"
        "def test_d(): pytest.skip('of no use')\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junitxml", "tests.xml", "test_some.py"]
    subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, check=False)
    found = pieces.read_tests(tmp_path / "tests.xml")
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 2, 1)
    assert any("OSError: no device" in line for line in found["failures"]["test_some::test_c"])
    assert any("assert 1 == 2" in line for line in found["failures"]["test_some::test_b"])


@pytest.mark.slow
def test_all_pieces_of_a_gpu_in_processes_of_their_own(gpu: Any, tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    subprocess.run([sys.executable, gpu.__file__, "--small", "--output", file], check=False)
    result = json.loads(file.read_text())
    without_graphs = [] if hasattr(decoder, "graphs") else ["step_without_graphs"]
    assert [piece for piece in gpu.PIECES if "error" in result[piece]] == without_graphs
    tests = result["tests"]
    assert tests["passed"] + tests["failed"] if torch.cuda.is_available() else tests["collected"] >= 40
