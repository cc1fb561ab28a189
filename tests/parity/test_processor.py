"""Action bins and the sequences of both predictions are those of the authors' code, id by id."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from einops import rearrange, repeat

from rlvr_world_hf.processors.bins import UniformBins
from rlvr_world_hf.processors.video import VideoWorldModelProcessor


class RecordedCodec:
    """Gives recorded codes: a frame's constant brightness is its index among the recorded frames."""

    context_codebook_size = dynamics_codebook_size = 4375
    context_grid, dynamics_grid = (32, 40), (8, 10)
    config = SimpleNamespace(context_frames=1, image_size=(1, 1))
    device = torch.device("cpu")

    def __init__(self, context_codes: np.ndarray, dynamics_codes: np.ndarray) -> None:
        self.context_codes, self.dynamics_codes = torch.from_numpy(context_codes), torch.from_numpy(dynamics_codes)

    def eval(self) -> "RecordedCodec":
        return self

    def encode_context(self, context_frames: torch.Tensor) -> torch.Tensor:
        assert (context_frames == 0).all()
        return self.context_codes

    def encode(self, frames: torch.Tensor, *, context_frames: torch.Tensor) -> torch.Tensor:
        index = (frames[:, :, 0, 0, 0] * 255).round().long() - 1
        return torch.take_along_dim(self.dynamics_codes, index[:, :, None], dim=1)


class RecordedFrameCodec(RecordedCodec):
    """The same for frames that are coded on their own."""

    context_codebook_size, context_grid, dynamics_grid = 0, (0, 0), (16, 20)
    config = SimpleNamespace(context_frames=0, image_size=(1, 1))

    def __init__(self, codes: np.ndarray) -> None:
        super().__init__(np.zeros((len(codes), 0, 0)), codes)

    def encode(self, frames: torch.Tensor, *, context_frames: torch.Tensor) -> torch.Tensor:
        return super().encode(frames + 1 / 255, context_frames=context_frames)


@pytest.fixture(scope="module")
def recorded(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "processor.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def ranges(golden: Path, recorded: dict[str, np.ndarray]) -> np.ndarray:
    ranges = json.loads((golden / "action_ranges.json").read_text(encoding="utf-8"))
    assert np.array_equal(np.float32(ranges), recorded["action_ranges"])
    return recorded["action_ranges"]


@pytest.mark.parametrize(
    ("values", "expected", "bins"),
    [
        ("act_uniform", "act_uniform_bins", 256),
        ("act_edges", "act_edges_bins", 256),
        ("act_special", "act_special_bins", 256),
        ("act_3d", "act_3d_bins", 256),
        ("act_uniform", "act_uniform_bins_64", 64),
        ("act_uniform", "act_uniform_bins_1000", 1000),
    ],
)
def test_action_bins(
    recorded: dict[str, np.ndarray], ranges: np.ndarray, values: str, expected: str, bins: int
) -> None:
    encoder = UniformBins(low=ranges[:, 0], high=ranges[:, 1], bins=bins)
    assert np.array_equal(encoder.encode(recorded[values]).numpy(), recorded[expected])


@pytest.mark.parametrize(("steps", "length"), [(8, 2024), (7, 1931), (3, 1559)])
def test_multi_step_sequence(recorded: dict[str, np.ndarray], ranges: np.ndarray, steps: int, length: int) -> None:
    case = {key.removeprefix(f"multi_S{steps}_"): value for key, value in recorded.items() if f"_S{steps}_" in key}
    codec = RecordedCodec(case["ctx_tokens_raw"], case["dyn_tokens"])
    processor = VideoWorldModelProcessor.from_codec(codec, ranges[:, 0], ranges[:, 1], observed_steps=1)
    batch = len(case["actions"])
    frames = repeat(torch.arange(steps + 1, dtype=torch.uint8), "T -> B T 3 1 1", B=batch)
    context, reference = frames[:, :2], frames[:, 2:]
    actions = case["actions"][:, 1:]  # the authors drop the context frame's action

    inputs = processor(context, actions, reference=reference)
    assert inputs["input_ids"].shape == (batch, length)
    assert np.array_equal(inputs["input_ids"], case["input_ids"])
    assert np.array_equal(inputs["labels"], case["labels"])

    prompt_ids, world = processor.encode_prompt(context, actions), processor.world_tokens(actions)
    assert np.array_equal(prompt_ids, case["input_ids"][:, :1373])
    mask = processor.model_token_mask(steps - 1).numpy()
    action_ids = rearrange(case["action_ids"][:, 1:], "B S A -> B (S A)")
    assert np.array_equal(world[:, ~mask], action_ids) and (world[:, mask] == -1).all()
    assert np.array_equal(mask, case["labels"][0, 1373:] != -100)
    ranges_of_ids = processor.token_ranges(steps - 1).numpy()
    completion = case["input_ids"][:, 1373:]
    assert ((completion >= ranges_of_ids[:, 0]) & (completion < ranges_of_ids[:, 1])).all()


def test_single_step_sequence(recorded: dict[str, np.ndarray], ranges: np.ndarray) -> None:
    """The authors have `bos` before the predicted frame, and `eos` after it where our step ends with its action."""
    case = {key.removeprefix("single_T5_"): value for key, value in recorded.items() if "_T5_" in key}
    codec = RecordedFrameCodec(case["frame_tokens"])
    processor = VideoWorldModelProcessor.from_codec(codec, ranges[:, 0], ranges[:, 1], observed_steps=4)
    layout, official = processor.layout, case["input_ids"]
    frames = repeat(torch.arange(5, dtype=torch.uint8), "T -> B T 3 1 1", B=len(official))
    prompt, completion = processor.encode_window(frames[:, :4], frames[:, 4:], case["actions"])
    assert (layout.vocabulary_size, prompt.shape[1], completion.shape[1]) == (4633, 1332, 333)
    assert np.array_equal(prompt, official[:, :1332]) and np.array_equal(completion[:, :320], official[:, 1333:1653])
    assert (official[:, 1332] == layout.bos_id).all() and (official[:, 1653] == layout.eos_id).all()
    written = processor.model_token_mask(1)
    assert np.array_equal(processor.labels(prompt, completion)[:, 1332:][:, written], case["labels"][:, 1333:1653])


def test_official_sizes(recorded: dict[str, np.ndarray], ranges: np.ndarray) -> None:
    codec = RecordedCodec(recorded["multi_S8_ctx_tokens_raw"], recorded["multi_S8_dyn_tokens"])
    layout = VideoWorldModelProcessor.from_codec(codec, ranges[:, 0], ranges[:, 1], observed_steps=1).layout
    assert (layout.vocabulary_size, layout.prompt_length, layout.completion_length(7)) == (9008, 1373, 651)
    assert (layout.bos_id, layout.eos_id) == (9006, 9007)
