from types import SimpleNamespace

import pytest
import torch

from rlvr_world_hf.evaluation import flicker
from rlvr_world_hf.evaluation.flicker import measure_flicker
from rlvr_world_hf.rewards.repetition import RepetitionReward, repeated_steps
from rlvr_world_hf.tokenizers import frames as frame_coding
from tests.tiny import tiny_processor, tiny_rows
from tests.training.world import single_step_processor


class Drawn:
    """A codec of two codes of (3, 4) levels, that paints each channel of a code into pixels of its own."""

    config = SimpleNamespace(context_frames=1)
    device = torch.device("cpu")
    quantizer = SimpleNamespace(levels=[3, 4])
    steps = torch.tensor([[0.2, 0.1], [0.05, 0.02]])
    """How much one level of each code and channel changes a pixel."""

    def encode(self, frames, *, context_frames):
        assert context_frames.shape[1] == 1
        return torch.tensor([[[0, 11]]])  # levels 0 and 0, then 2 and 3: one can only go up, the other only down

    def decode(self, codes, *, context_frames):
        digits = torch.stack([codes % 3, codes // 3], dim=-1)  # (1, T, 2, 2)
        pixels = (digits * self.steps).flatten(2)
        return pixels[:, :, None, :, None].expand(-1, -1, 3, -1, 16)


def test_the_flicker_is_the_least_change_that_one_level_of_one_code_makes():
    assert measure_flicker(Drawn(), tiny_rows()) == pytest.approx(0.02)


def test_the_frame_that_flickers_most_counts(monkeypatch):
    codec, decode = Drawn(), Drawn.decode
    scales = iter([1.0, 3.0, 2.0, *[1.0] * 99])
    monkeypatch.setattr(Drawn, "decode", lambda self, *codes, **given: next(scales) * decode(self, *codes, **given))
    assert measure_flicker(codec, tiny_rows()) == pytest.approx(0.06)


@pytest.mark.parametrize("processor", [tiny_processor(), single_step_processor()], ids=["compressive", "frames"])
def test_a_tolerance_of_the_flicker_finds_what_the_default_misses(processor):
    codec, rows = processor.codec, tiny_rows()
    measured = measure_flicker(codec, rows)
    assert 0 < measured < 1
    # The same frame, then the one with the least different code, as a model may write them to and fro.
    row = next(flicker.row_batches([rows[0]], size=1))
    context = row.context[:, : codec.config.context_frames]
    codes = codec.encode(row.reference[:, :1], context_frames=context)
    quantizer = getattr(codec, "dynamics_quantizer", None) or codec.quantizer
    others = flicker._one_level_away(codes[0, 0], quantizer.levels)
    frames = codec.decode(torch.cat([codes, others[None]], dim=1), context_frames=context)[0].detach().clamp(0, 1)
    least = frames[1 + int((frames[1:] - frames[:1]).abs().flatten(1).amax(1).argmin())]
    film = torch.stack([frames[0], least, frames[0]])
    assert not repeated_steps(film[None], tolerance=0).any()
    assert RepetitionReward(tolerance=measured)(predicted=[film], reference=[film]) == [-1.0]


def test_codes_without_levels_have_no_flicker():
    assert measure_flicker(SimpleNamespace(), tiny_rows()) is None


def test_each_code_changes_by_one_level_within_its_range():
    codes = torch.tensor([0, 7, 11])  # (0, 0), (1, 2) and (2, 3) of (3, 4) levels
    rows = flicker._one_level_away(codes, [3, 4]).tolist()
    assert sorted(rows) == sorted(
        [[1, 7, 11], [0, 8, 11], [0, 6, 11], [0, 7, 10], [3, 7, 11], [0, 10, 11], [0, 4, 11], [0, 7, 8]]
    )


def test_frames_that_fill_the_memory_are_decoded_by_pieces(monkeypatch):
    codec, rows = tiny_processor().codec, tiny_rows()
    measured, decode, sizes = measure_flicker(codec, rows), codec._decode_dynamics, []

    def decode_piece(values, *given):
        sizes.append(values.shape[:2].numel())
        return decode(values, *given)

    monkeypatch.setattr(codec, "_decode_dynamics", decode_piece)
    monkeypatch.setitem(frame_coding.PIXELS_A_PIECE, "cpu", 2 * 16 * 16)
    assert measure_flicker(codec, rows) == pytest.approx(measured, rel=1e-5)
    assert max(sizes) == 2
