"""
Ten thousand episodes through collect, tokenizer and pretrain, and the memory that it takes.

As a world of a recipe it is a noisy background over which a square walks. As a script it runs the stages in a folder
and prints the most memory that they took, in MB: `python -m tests.long_world FOLDER`. Pages of mapped files do not
count: the system takes them back when it needs room.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import psutil
import torch

from rlvr_world_hf.data import Episode
from rlvr_world_hf.runs.stage import find_stage
from rlvr_world_hf.training.pretraining import LikelihoodConfig, build_policy, pretrain, tokenize_rows


EPISODES, FRAMES, SIZE = 10_000, 100, 32
"""3.1 GB of frames."""

ROWS, LENGTH = 40_000, 8_000
"""2.6 GB of tokens, and the labels as much."""


def collect_episodes(
    seeds: list[int], *, processes: int = 1, action_law: str = "", length: int = 0, image_size: int = 0
) -> Iterator[Episode]:
    """One episode a seed; the keys that the debug recipe sets for its own world change nothing."""
    for seed in seeds:
        numbers = np.random.default_rng(seed)
        frames = np.repeat(numbers.integers(0, 128, (1, 3, SIZE, SIZE), dtype=np.uint8), FRAMES, axis=0)
        for time in range(FRAMES):
            frames[time, :, 8:16, time % 24 : time % 24 + 8] = 255
        actions = numbers.random((FRAMES, 2), dtype=np.float32)
        yield Episode(episode_id=str(seed), frames=frames, actions=actions, fps=2.0)


class Memory:
    """The most memory, in MB, that this process and its children have taken for themselves while it was watched."""

    def __init__(self) -> None:
        self.most = 0.0
        self.ended = threading.Event()

    def __enter__(self) -> Memory:
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def _watch(self) -> None:
        this = psutil.Process()
        while not self.ended.wait(0.05):
            own = [this, *this.children(recursive=True)]
            self.most = max(self.most, sum(_anonymous(process.pid) for process in own) / 1e6)


def _anonymous(pid: int) -> int:
    """Bytes of a process that no file holds."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended meanwhile
        return 0
    found = dict(line.split(":", 1) for line in lines)
    return 1024 * sum(int(found.get(name, "0").split()[0]) for name in ("RssAnon", "RssShmem"))


def run_stages(folder: Path, *, episodes: int = EPISODES) -> None:
    """Collect, tokenizer and pretrain: frames are read as clips and as windows, tokens from their file."""
    from tests.small_runs import small_recipe

    recipe = small_recipe(
        folder,
        **{
            "world": "tests.long_world",
            "windows.stride": 48,
            "collect.train": episodes,
            "collect.validation": 4,
            "tokenizer.codec": {
                "path": "rlvr_world_hf.CompressiveTokenizer",
                "image_size": [SIZE, SIZE],
                "stem_patch_size": 4,
                "block_out_channels": [16, 16],
                "norm_num_groups": 4,
                "latent_channels": 8,
                "dynamics_patch_size": 2,
            },
            "tokenizer.max_steps": 60,
            "tokenizer.save_steps": 30,
            "tokenizer.dataloader_num_workers": 2,
        },
    )
    for stage in ("collect", "tokenizer", "pretrain"):
        find_stage(stage)(recipe)


def train_on_many_tokens(folder: Path, *, rows: int = ROWS) -> None:
    """Tokens of long sequences, from their file, which no memory holds."""

    def encode(**columns: np.ndarray) -> dict[str, torch.Tensor]:
        ids = (torch.from_numpy(columns["number"])[:, None] + torch.arange(LENGTH)) % 20
        return {"input_ids": ids, "labels": torch.where(torch.arange(LENGTH) < LENGTH - 4, -100, ids)}

    class Processor(SimpleNamespace):
        def __call__(self, **columns: np.ndarray) -> dict[str, torch.Tensor]:
            return encode(**columns)

    numbers = {"number": np.arange(rows), "reference": np.arange(rows), "reference_mask": np.ones(rows, bool)}
    names: dict[str, Any] = {"prompt_columns": ("number",), "reference_columns": ("reference",)}
    processor: Any = Processor(**names, device=torch.device("cpu"))
    given = datasets.Dataset.from_dict(numbers).with_format("numpy")
    tokens = tokenize_rows(given, processor, file=folder / "tokens.arrow")
    layout: Any = SimpleNamespace(vocabulary_size=20, bos_id=0, eos_id=1)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    policy = build_policy(layout, **sizes, max_position_embeddings=LENGTH)
    args = LikelihoodConfig(max_steps=2, eval_steps=2, batch_size=1, warmup_steps=0)
    pretrain(policy, tokens, tokens.select(range(2)), output_dir=folder / "training", args=args)


def main(folder: Path) -> None:
    """Print the most memory of each part, as JSON."""
    parts: dict[str, Callable[[Path], None]] = {"stages": run_stages, "tokens": train_on_many_tokens}
    most = {}
    for name, part in parts.items():
        place = folder / name
        place.mkdir(parents=True)
        with Memory() as memory:
            part(place)
        most[name] = round(memory.most)
    sys.stdout.write(json.dumps(most) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
