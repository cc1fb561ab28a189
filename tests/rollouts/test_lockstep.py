"""Parts of a batch: halved where memory does not suffice, and equally many in processes that share weights."""

from typing import Any

import pytest
import torch
from torch import distributed, nn

from rlvr_world_hf import LanguageWorldModelProcessor
from rlvr_world_hf.rollouts import decoder, lockstep
from rlvr_world_hf.rollouts.lockstep import Lockstep, are_weights_shared_out, in_parts
from rlvr_world_hf.rollouts.sampling import draw_uniforms, sample_completions
from rlvr_world_hf.rollouts.text import sample_text
from tests.tiny import text_tokenizer, tiny_language_model


class TwoProcesses(Lockstep):
    """The other process always says the same number."""

    def __init__(self, other: int) -> None:
        super().__init__(nn.Linear(1, 1))
        self.is_needed, self.other = True, other

    def most(self, number: int) -> int:
        return max(number, self.other)


@pytest.fixture
def model() -> Any:
    return tiny_language_model(LanguageWorldModelProcessor(text_tokenizer()).tokenizer)


def worked_on(count: int, *, at_once: int, most: int, together: Lockstep | None = None) -> list[tuple[int, int]]:
    """The parts that were begun, on a device whose memory suffices for `most` items."""
    begun = []

    def work(some: slice) -> None:
        begun.append((some.start, some.stop))
        if some.stop - some.start > most:
            raise torch.OutOfMemoryError

    in_parts(work, count, at_once=at_once, lockstep=together or Lockstep(nn.Linear(1, 1)))
    return begun


def test_a_part_is_halved_where_memory_does_not_suffice() -> None:
    assert worked_on(5, at_once=8, most=8) == [(0, 5)]
    assert worked_on(7, at_once=3, most=8) == [(0, 3), (3, 6), (6, 7)]
    assert worked_on(7, at_once=7, most=3) == [(0, 7), (0, 4), (0, 2), (2, 4), (4, 6), (6, 7)]
    with pytest.raises(torch.OutOfMemoryError):
        worked_on(2, at_once=2, most=0)


def test_processes_in_lockstep_work_on_equally_many_parts() -> None:
    assert worked_on(3, at_once=2, most=8, together=TwoProcesses(4)) == [(0, 2), (2, 3), (0, 2), (0, 2)]
    assert worked_on(3, at_once=2, most=8, together=TwoProcesses(1)) == [(0, 2), (2, 3)]
    with pytest.raises(torch.OutOfMemoryError):
        worked_on(3, at_once=2, most=1, together=TwoProcesses(1))


def test_completions_are_the_same_after_memory_ran_out(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, ranges = torch.arange(12).view(4, 3), torch.tensor([[0, 9], [3, 40], [0, 9]])
    given = (torch.full((4, 3), -1), ranges)
    noise = draw_uniforms(range(4), 2, 3)
    settings: dict[str, Any] = {"num_samples": 2, "uniforms": noise, "return_logprobs": True}
    text: dict[str, Any] = {"num_samples": 2, "max_new_tokens": 6, "end_ids": [], "seeds": range(4)}
    expected = sample_completions(model, prompts, *given, **settings)
    expected_text = sample_text(model, prompts.tolist(), **text)
    rows = []
    read = decoder.GroupDecoder.read

    def read_few(self: Any, tokens: torch.Tensor, **further: Any) -> torch.Tensor:
        logits = read(self, tokens, **further)
        if len(logits) > 2 and self.read_so_far == 1:  # in the middle of a part
            raise torch.OutOfMemoryError
        rows.append(len(logits))
        return logits

    monkeypatch.setattr(decoder.GroupDecoder, "read", read_few)
    for drawn, wanted in zip(sample_completions(model, prompts, *given, **settings), expected, strict=True):
        torch.testing.assert_close(drawn, wanted)
    assert sample_text(model, prompts.tolist(), **text) == expected_text
    assert set(rows) == {8, 4, 2}


def test_weights_are_shared_out_among_processes_only(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = next(model.parameters())
    weight.ds_id = 0  # as DeepSpeed marks it
    assert not are_weights_shared_out(model)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    assert not are_weights_shared_out(model), "gathered for as long as it is sampled from"
    weight.data = weight.new_empty(0)
    assert are_weights_shared_out(model)
    assert lockstep.Lockstep(model).is_needed
