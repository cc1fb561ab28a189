"""What was pushed works without this library: frames become prompt ids, and ids frames, by the code that came too."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf import CompressiveTokenizer, FrameTokenizer, LanguageWorldModelProcessor, VideoWorldModelProcessor
from rlvr_world_hf.hub.push import push_world_model
from tests.local_hub import USER, LocalHub
from tests.tiny import (
    text_tokenizer,
    tiny_joint_processor,
    tiny_model,
    tiny_processor,
    tiny_rows,
    tiny_sensor_processor,
)


REPO = f"{USER}/without-library"


def single_step_processor() -> VideoWorldModelProcessor:
    torch.manual_seed(0)
    codec = FrameTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    return VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [512.0, 512.0], action_bins=8, observed_steps=1)


WORLDS = {
    "-video": tiny_processor,
    "-single": single_step_processor,
    "-sensors": tiny_sensor_processor,
    "-joint": tiny_joint_processor,
}


def window_of(processor: Any) -> dict[str, torch.Tensor]:
    row = tiny_rows(predicts=processor.predicts)[0]
    names = (*processor.prompt_columns, *processor.reference_columns)
    return {name: torch.as_tensor(np.array(row[name]))[None] for name in names}


def completion_of(processor: Any, window: dict[str, torch.Tensor]) -> torch.Tensor:
    return processor.encode_completion(**window)


def as_lists(value: Any) -> Any:
    """Tensors, and mappings of them, as what compares bit for bit."""
    if isinstance(value, dict):
        return {name: as_lists(inner) for name, inner in value.items()}
    return value.tolist() if isinstance(value, torch.Tensor) else value


def run_without_library(folder: Path, jobs: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    file = folder / "jobs.pt"
    torch.save(jobs, file)
    script = Path(__file__).with_name("without_library.py")
    command = [sys.executable, str(script), REPO, str(file)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return torch.load(file)


def test_everything_works_without_the_library(hub: LocalHub, tmp_path: Path) -> None:
    """One process, as each loads torch and the rest anew."""
    jobs: list[tuple[str, dict[str, Any]]] = []
    expected: list[dict[str, Any]] = []
    for suffix, make in WORLDS.items():
        processor = make()
        push_world_model(tiny_model(processor), processor, REPO + suffix)
        window = window_of(processor)
        ids = processor.encode_prompt(**{name: window[name] for name in processor.prompt_columns})
        completion_ids = completion_of(processor, window)
        jobs.append((suffix, {"window": window, "completion_ids": completion_ids}))
        expected.append({"ids": ids, "states": processor.decode_state(completion_ids, window["context"])})
    language = LanguageWorldModelProcessor(text_tokenizer(), prompt_template="{state} > {action}")
    language.push_to_hub(REPO + "-text")
    prompt = ["open(door)", "shut(door)"]
    jobs.append(("-text", {"prompt": prompt}))
    expected.append({"ids": language.encode_prompt(prompt), "answers": prompt})
    codec = tiny_processor().codec
    codec.push_to_hub(REPO + "-codec")
    frames = torch.rand(1, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for suffix, subfolder in (("-codec", None), ("-video", "codec")):
        jobs.append((suffix, {"frames": frames, "subfolder": subfolder}))
        with torch.no_grad():
            expected.append({"codes": codec.encode_context(frames)})
    for given, wanted in zip(run_without_library(tmp_path, jobs), expected, strict=True):
        assert {name: as_lists(value) for name, value in given.items()} == {
            name: as_lists(value) for name, value in wanted.items()
        }


def test_with_the_library_no_trust_is_needed(hub: LocalHub) -> None:
    from transformers import AutoProcessor

    processor = tiny_processor()
    processor.push_to_hub(REPO + "-known")
    loaded = AutoProcessor.from_pretrained(REPO + "-known")
    assert type(loaded) is VideoWorldModelProcessor
    window = window_of(processor)
    assert torch.equal(completion_of(loaded, window), completion_of(processor, window))
    codec = CompressiveTokenizer.from_pretrained(REPO + "-known", subfolder="codec")
    assert "auto_map" not in codec.config


def test_without_trust_no_code_of_the_repository_runs(hub: LocalHub) -> None:
    from diffusers import AutoModel

    tiny_processor().codec.push_to_hub(REPO + "-stranger")
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        AutoModel.from_pretrained(REPO + "-stranger")
