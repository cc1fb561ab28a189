"""
Measures this library against plain TRL, in a process each and in alternating order: `make bench`.

Writes results.json (every pair) beside this file, and its table into docs/performance.md. A ratio is the other way's
time divided by ours; its bar is what it must reach. `--only curves` measures growth with group size, prompt and
completion: curves.csv and curves.png. With `--resume`, what was measured earlier stays, points of the curves too, so
that hours of it can be cut into pieces; each names its commit.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import torch
from apart import Apart, serve
from memory import forget_peak, own_peak
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from workloads import WAYS, Candidates, Frames, Reward, Step, Workload, build_model, now

from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
from rlvr_world_hf.evaluation.json_files import write_json
from rlvr_world_hf.evaluation.page import renew_section
from rlvr_world_hf.evaluation.provenance import commit, machine, versions
from rlvr_world_hf.runs.locations import bundled_path


HERE = Path(__file__).parent
CURVES = "curves"
LABELS = {"ours": "shared prompts", "trl": "TRL"}
RESULTS = "results.json"
PARTS = ("rollout", "update", "step")
BYTES = 4  # of a float32
P340 = Workload(prompt_length=340, completion_length=168, prompts=4)
P1373 = Workload(prompt_length=1373, completion_length=160, prompts=1)
MIXED = Workload(prompt_length=240, prompt_spread=320, completion_length=80, longest=200, prompts=8, micro_batch=32)
ABOVE_FLOOR = {"p340_c168_g16": 2.4, "p1373_c160_g16": 2.4, "pusht": 2.4}
"""How many times its floor a step is wanted to take at most."""
WANTED = {"p340_c168_g16": 5.5, "p1373_c160_g16": 9.5, "pusht": 3.2, "text_mixed": 3.0, "planning": 2.0}
"""How many times as fast as the other way each is wanted to be: a step, or planning."""
Bars = dict[str, float | None]
"""Least ratio of each part; `None` if it is only reported."""


@cache
def pusht() -> Workload:
    """The shapes of the quickstart."""
    codec = CompressiveTokenizer.from_pretrained(bundled_path("pusht-codec"))
    processor = VideoWorldModelProcessor.from_codec(codec, [0, 0], [512, 512], action_bins=256, observed_steps=1)
    completion = len(processor.model_token_mask(4))
    return Workload(prompt_length=processor.layout.prompt_length, completion_length=completion, prompts=16)


def bars() -> dict[str, tuple[Callable[[str, Path], Any], Bars, Workload | None]]:
    """
    Each workload: how to build it, its bars, its sizes.

    A bar is a little below what the committed measurement has reached; what is wanted may be more, see `WANTED`.
    """
    shapes = pusht()
    reprefill = Workload(prompt_length=340, completion_length=7 * 24, prompts=4)
    return {
        "p340_c168_g16": (_step(P340), {"rollout": 7.0, "update": 4.5, "step": 5.5}, P340),
        "p1373_c160_g16": (_step(P1373), {"rollout": 7.0, "update": 7.0, "step": 7.5}, P1373),
        "pusht": (_step(shapes), {"rollout": 2.2, "update": 2.4, "step": 2.5}, shapes),
        "text_mixed": (_step(MIXED), {"rollout": None, "update": None, "step": 3.0}, MIXED),
        "multi_step_reprefill": (lambda way, folder: Frames(way, reprefill), {"rollout": 7.5}, reprefill),
        "pusht.reward": (lambda way, folder: Reward(way), {"reward": 1.5}, None),
        "planning": (Candidates, {"planning": 1.7}, None),
    }


def curves() -> dict[str, list[Workload]]:
    """What grows, and the sizes at which it is measured."""
    return {
        "group_size": [
            Workload(prompt_length=1373, completion_length=160, prompts=1, group_size=size)
            for size in (2, 4, 8, 16, 32)
        ],
        "completion_length": [
            Workload(prompt_length=340, completion_length=length, prompts=1) for length in (24, 72, 168, 336)
        ],
        "prompt_length": [  # smaller groups: plain TRL holds each prompt's activations once an answer
            Workload(prompt_length=length, completion_length=160, prompts=1, group_size=8)
            for length in (128, 512, 1024, 2048, 4096)
        ],
    }


def measure(build: Callable[[str, Path], Any], *, pairs: int, label: str) -> list[dict[str, dict[str, Any]]]:
    """What each run says, its seconds above all, by way, for every pair; the first pair warms up and is dropped."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        runs = {way: build(way, Path(folder) / way) for way in WAYS}
        for run in runs.values():
            stack.callback(getattr(run, "end", lambda: None))
        measured = []
        for pair in tqdm(range(pairs + 1), desc=label, disable=None):
            order = WAYS if pair % 2 else WAYS[::-1]
            seconds = {way: runs[way].run() for way in order}
            if pair:
                measured.append(seconds)
    return measured


def summarize(measured: list[dict[str, dict[str, Any]]], bar: Bars) -> dict[str, Any]:
    """Median ratio of each part, with its bar, spread and every pair."""
    summary = {}
    for part, least in bar.items():
        pairs = [{way: seconds[way][part] for way in WAYS} for seconds in measured]
        ratios = [pair["trl"] / pair["ours"] for pair in pairs]
        spread = stdev(ratios) if len(ratios) > 1 else None
        summary[part] = {"ratio": median(ratios), "std": spread, "bar": least, "pairs": pairs}
    return summary


def beside_seconds(measured: list[dict[str, dict[str, Any]]], sizes: Workload | None) -> dict[str, Any]:
    """Means of the completions' lengths, where they end by themselves; memory and differences of candidates."""
    found: dict[str, Any] = {}
    if sizes is not None and sizes.longest is not None:
        found["mean_length"] = {way: mean(said[way]["mean_length"] for said in measured) for way in WAYS}
    if "frames" in measured[0]["ours"]:
        last = measured[-1]
        peaks = {way: median(said[way]["peak_memory"] for said in measured) for way in WAYS}
        apart = np.abs(last["ours"]["frames"].astype(np.float64) - last["trl"]["frames"])
        found |= {"peak_memory": peaks, "peak_memory_ratio": peaks["ours"] / peaks["trl"]}
        found["dtype"] = {way: last[way]["dtype"] for way in WAYS}
        found["differences"] = {
            "what": "of colours in [0, 1], between the frames of both ways",
            "mean": float(apart.mean()),
            "largest": float(apart.max()),
            "share_of_frames_within_1/255": float((apart.max(axis=(-3, -2, -1)) < 1 / 255).mean()),
        }
    return found


def floors(workload: Workload, rates: dict[str, float]) -> dict[str, float]:
    """
    Seconds that any way which shares prompts needs at these rates, by part.

    What has to be computed, or moved, whichever takes longer: each prompt and each completion once, the head for
    completions alone; a rollout reads weights, keys and values again for each token. Reference, policy and gradients
    take four passes. What stays in a cache may be read faster than a large copy, so a rollout's floor is not strict.

    Prompts count at their own lengths. Completions that end by themselves count as if all had their mean length. That
    is less than they need: attention grows with the square, and the weights are read until the longest has ended.
    """
    model = build_model()
    config, head = model.config, model.lm_head.weight.numel()
    layers, width, length = config.num_hidden_layers, config.hidden_size, workload.completion_length
    weights = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    own = workload.rows * length * (length + 1) / 2  # a completion's tokens, seen from itself
    from_prompts = sum(prompt * (prompt + 1) / 2 for prompt in workload.prompt_lengths)
    seen = from_prompts + workload.rows * length * workload.prompt_length + own
    products = (weights - head) * workload.tokens["ours"] + head * workload.rows * length
    once = (2 * products + 4 * layers * width * seen) / rates["matmul_flops"]
    keys = 2 * layers * width * (length * workload.prompts * workload.prompt_length + own)
    moved = BYTES * (length * weights + keys) / rates["copy_bytes"]
    return {"rollout": max(once, moved), "update": 4 * once, "step": max(once, moved) + 4 * once}


def reward_floor(reward: Reward, rates: dict[str, float]) -> dict[str, float]:
    """Seconds of the operations of a reward, counted as it runs."""
    with FlopCounterMode(display=False) as counted:
        reward.run()
    return {"reward": counted.get_total_flops() / rates["matmul_flops"]}


def measure_rates() -> dict[str, float]:
    """What this machine does at best: float32 products of 1,024 x 1,024, copies of 256 MiB (bytes that are read)."""
    left = right = torch.randn(1024, 1024)
    block = torch.randn(2**26)
    target = torch.empty_like(block)
    return {
        "matmul_flops": 2 * 1024**3 / _median_seconds(lambda: left @ right),
        "copy_bytes": BYTES * block.numel() / _median_seconds(lambda: target.copy_(block)),
    }


def peak_memory(way: str, workload: Workload) -> int:
    """Bytes that a step adds to the peak of a process of its own."""
    sizes = json.dumps(asdict(workload))
    output = subprocess.run(
        [sys.executable, __file__, "--memory-of", way, "--sizes", sizes], check=True, capture_output=True, text=True
    )
    return int(output.stdout.split()[-1])


def report_memory(way: str, sizes: str) -> None:
    """Says how far a step lifts this process's peak, once all that a step imports is there."""
    with tempfile.TemporaryDirectory() as folder:
        Step(way, Workload(prompt_length=8, completion_length=4, prompts=1, group_size=2), Path(folder, "first")).run()
        run = Step(way, Workload(**json.loads(sizes)), Path(folder))
        forget_peak()
        before = own_peak()
        run.run()
    sys.stdout.write(f"\n{own_peak() - before}\n")


def units(name: str, summary: dict[str, Any]) -> float | None:
    """What a step of a workload makes: sampled and given tokens of its completions, or frames."""
    if name not in bars():
        return None
    if name == "planning":
        return Candidates.candidates * Candidates.horizon
    sizes = bars()[name][2]
    if sizes is None:
        return Reward.prompts * Reward.group_size * Reward.horizon
    return sizes.rows * summary.get("mean_length", {"ours": sizes.completion_length})["ours"]


def table(results: dict[str, Any]) -> str:
    """The Markdown of results.json, as docs/performance.md has it."""
    lines = [
        "| workload | part | times as fast | bar | ours, s | TRL, s | ours, per s | floor, s | ours / floor |",
        "|---" * 9 + "|",
    ]
    for name, summary in results["workloads"].items():
        made = units(name, summary)
        for part, of_part in summary.items():
            if not isinstance(of_part, dict) or "pairs" not in of_part:
                continue  # floors, memory and lengths
            ours, host = (median(pair[way] for pair in of_part["pairs"]) for way in WAYS)
            floor = summary.get("floor", {}).get(part)
            spread = f" ± {of_part['std']:.2f}" if of_part["std"] is not None else ""
            bar = "-" if of_part["bar"] is None else f"{of_part['bar']:.2f}"
            bar += f" (wanted: {of_part['wanted']:.1f})" if "wanted" in of_part else ""
            speed = f"{of_part['ratio']:.2f}{spread} | {bar}"
            wanted = f" (wanted: {of_part['above_floor']:.1f})" if "above_floor" in of_part else ""
            above = "- | -" if floor is None else f"{floor:.2f} | {ours / floor:.1f}{wanted}"
            pace = "-" if made is None else f"{made / ours:,.0f}"
            seconds = f"{ours:.2f} | {host:.2f} | {pace} | {above}"
            lines.append(f"| `{name}` | {part} | {speed} | {seconds} |")
        if "peak_memory_ratio" in summary:
            mebibytes = {way: summary["peak_memory"][way] / 2**20 for way in WAYS}
            bar = "1.00" if "step" in summary else "-"
            lines.append(
                f"| `{name}` | peak memory | {1 / summary['peak_memory_ratio']:.2f} as small | {bar} | "
                f"{mebibytes['ours']:.0f} MiB | {mebibytes['trl']:.0f} MiB | - | - | - |"
            )
    return "\n".join(
        [
            *lines,
            "",
            f"{results['machine']}; commit {' + '.join(f'`{c[:10]}`' for c in results['commit'].split(' + '))}.",
            "",
        ]
    )


def write_results(workloads: dict[str, Any], points: list[dict[str, Any]]) -> None:
    """Writes what was measured so far, and its table into the page."""
    pieces = [*workloads.values(), *points]
    commits = dict.fromkeys(name for piece in pieces for name in piece["commit"].split(" + "))
    origin = {"commit": " + ".join(commits), "machine": machine(), "versions": versions()}
    results = origin | {"workloads": workloads, CURVES: points}
    write_json(results, HERE / RESULTS)
    renew_page(results)


def renew_page(results: dict[str, Any]) -> None:
    """Puts the table into docs/performance.md."""
    page = HERE.parent / "docs" / "performance.md"
    page.write_text(renew_section(page.read_text(encoding="utf-8"), "benchmarks", table(results)), encoding="utf-8")


def draw(points: list[dict[str, Any]], file: Path) -> None:
    """Seconds of a step over what grows, a panel each."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(point["grows"] for point in points))
    figure = Figure(figsize=(4 * len(names), 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for way, label in LABELS.items():
            of_way = [point for point in points if point["grows"] == name and point["way"] == way]
            sizes = [point["size"] for point in of_way]
            axes.errorbar(sizes, [p["step"] for p in of_way], [p["std"] or 0 for p in of_way], marker="o", label=label)
        axes.set(xlabel=name.replace("_", " "), ylabel="seconds a step", xscale="log", yscale="log")
        axes.set_xticks(sizes, labels=map(str, sizes))
        axes.set_xticks([], minor=True)
        axes.legend()
    figure.savefig(file, dpi=120)


def write_curves(points: list[dict[str, Any]]) -> None:
    """The curves as a table and a picture."""
    with (HERE / "curves.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["grows", "size", "way", *PARTS, "std", "pairs", "commit"])
        writer.writeheader()
        writer.writerows(points)
    draw(points, HERE / "curves.png")


def measure_point(grows: str, workload: Workload, pairs: int) -> list[dict[str, Any]]:
    """Seconds of a step and of its parts at one size, medians and the step's spread, by way."""
    size = getattr(workload, grows)
    measured = measure(_apart("--sizes", json.dumps(asdict(workload))), pairs=pairs, label=f"{grows} {size}")
    points = []
    for way in WAYS:
        steps = [seconds[way]["step"] for seconds in measured]
        medians = {part: median(seconds[way][part] for seconds in measured) for part in PARTS}
        spread = stdev(steps) if pairs > 1 else None
        which = {"grows": grows, "size": size, "way": way}
        points.append({**which, **medians, "std": spread, "pairs": pairs, "commit": commit()})
    return points


def main() -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="all but curves by default", choices=[*bars(), CURVES])
    parser.add_argument("--resume", action="store_true", help="measure only what results.json lacks")
    parser.add_argument("--serve", choices=WAYS, help="measure one way whenever a line is read")
    parser.add_argument("--memory-of", choices=WAYS)
    parser.add_argument("--sizes")
    given = parser.parse_args()
    if given.memory_of:
        report_memory(given.memory_of, given.sizes)
        return
    if given.serve:
        build = _step(Workload(**json.loads(given.sizes))) if given.sizes else bars()[given.only[0]][0]
        with tempfile.TemporaryDirectory() as folder:
            serve(build(given.serve, Path(folder)).run)
        return
    file = HERE / RESULTS
    only = given.only or [*bars()]
    known = json.loads(file.read_text()) if file.exists() else {}
    workloads = known.get("workloads", {}) if given.resume else {}
    points = known.get(CURVES, []) if given.resume or CURVES not in only else []
    for name, (build, bar, sizes) in bars().items():
        if name not in only:
            continue
        if name not in workloads:
            rates = measure_rates()
            floor = floors(sizes, rates) if sizes else {}
            if name == "pusht.reward":
                floor = reward_floor(Reward("ours"), rates)
            # Candidates are in processes of their own anyway.
            apart = build if name == "planning" else _apart("--only", name)
            measured = measure(apart, pairs=given.pairs, label=name)
            summary = summarize(measured, bar) | beside_seconds(measured, sizes)
            workloads[name] = {"commit": commit(), **summary, "rates": rates, "floor": floor}
            if name in WANTED:
                workloads[name][[*bar][-1]]["wanted"] = WANTED[name]
            if name in ABOVE_FLOOR:
                workloads[name]["step"]["above_floor"] = ABOVE_FLOOR[name]
            sys.stdout.write(f"{name}: {'; '.join(_line(workloads[name], part) for part in bar)}\n")
            sys.stdout.flush()
            write_results(workloads, points)
        if "step" in bar and sizes is not None and "peak_memory" not in workloads[name]:
            peaks = {way: peak_memory(way, sizes) for way in WAYS}
            workloads[name]["peak_memory"] = peaks
            workloads[name]["peak_memory_ratio"] = peaks["ours"] / peaks["trl"]
            workloads[name]["commit"] = " + ".join(dict.fromkeys([*workloads[name]["commit"].split(" + "), commit()]))
            write_results(workloads, points)
    if CURVES in only:
        there = {(point["grows"], point["size"]) for point in points}
        for grows, sizes_of in curves().items():
            for workload in sizes_of:
                if (grows, getattr(workload, grows)) not in there:
                    points += measure_point(grows, workload, given.pairs)
                    write_results(workloads, points)
        write_curves(points)


def _apart(*which: str) -> Callable[[str, Path], Apart]:
    return lambda way, folder: Apart([sys.executable, __file__, "--serve", way, *which])


def _step(workload: Workload) -> Callable[[str, Path], Step]:
    return lambda way, folder: Step(way, workload, folder, compiled=True)


def _median_seconds(work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(20):
        start = now()
        work()
        seconds.append(now() - start)
    return median(seconds)


def _line(summary: dict[str, Any], part: str) -> str:
    of_part = summary[part]
    bar = "" if of_part["bar"] is None else f" (bar {of_part['bar']:.2f})"
    return f"{part} {of_part['ratio']:.2f}{bar}"


if __name__ == "__main__":
    main()
