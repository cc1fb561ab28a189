import pytest
import torch

from rlvr_world_hf.runs.precision import computes_bfloat16, use_bfloat16, weights_dtype


@pytest.mark.parametrize(
    ("instructions", "expected"), [({"avx2": True}, False), ({"amx_bf16": True}, True), ({}, False)]
)
def test_bfloat16_is_native_where_the_processor_has_instructions(monkeypatch, instructions, expected) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    assert computes_bfloat16("cpu") is expected
    assert use_bfloat16("auto", torch.device("cpu")) is expected


def test_an_unknown_kind_of_device_computes_in_float32() -> None:
    assert not computes_bfloat16("meta")
    assert use_bfloat16(True, "meta")


def test_only_frozen_weights_are_kept_in_bfloat16_where_it_is_native(monkeypatch) -> None:
    for instructions, frozen_in in ({"avx2": True}, torch.float32), ({"avx512_bf16": True}, torch.bfloat16):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda instructions=instructions: instructions)
        assert weights_dtype("auto", "cpu", frozen=True) == frozen_in
        assert weights_dtype("auto", "cpu", frozen=False) == torch.float32
