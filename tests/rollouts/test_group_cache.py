"""Buffers of one length, of which so much is read as is written."""

import pytest
import torch

from rlvr_world_hf.rollouts import group_cache
from rlvr_world_hf.rollouts.group_cache import GroupCache


def states(rows: int, tokens: int) -> torch.Tensor:
    return torch.randn(rows, 2, tokens, 8, generator=torch.Generator().manual_seed(rows + tokens))


def test_more_tokens_than_there_is_room_for_are_refused() -> None:
    cache = GroupCache(group_size=2, length=4)
    with pytest.raises(ValueError, match="at most 4 tokens of a completion, got 5"):
        cache.advance(torch.tensor([4]), stop=5)


def test_little_more_is_read_than_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(group_cache.ROOM, "cpu", 4)
    cache, rooms = GroupCache(group_size=2, length=10), []
    for stop in range(1, 11):
        cache.advance(torch.tensor([stop - 1]), stop=stop)
        rooms.append(cache.room)
    assert rooms == [4] * 4 + [8] * 4 + [10] * 2


@pytest.mark.parametrize("window", [None, 3])
def test_what_a_dropped_prompt_leaves_is_as_before(window: int | None) -> None:
    given = {"scale": 1.0, "window": window}
    every, some = GroupCache(group_size=2, length=9), GroupCache(group_size=2, length=9)
    rows, kept = torch.tensor([0, 1, 4, 5]), torch.tensor([0, 2])
    for cache in (every, some):
        cache.attend(0, *[states(3, 5)] * 3, **given)
        cache.advance(torch.tensor([0, 1]), stop=2)
        cache.attend(0, *[states(6, 2)] * 3, **given)
    some.keep(kept)
    for cache in (every, some):
        cache.advance(torch.tensor([2]), stop=3)
    wanted = every.attend(0, *[states(6, 1)] * 3, **given)[rows]
    torch.testing.assert_close(some.attend(0, *[states(6, 1)[rows]] * 3, **given), wanted)


def test_a_layer_with_a_window_keeps_what_can_be_seen_of_a_prompt() -> None:
    cache = GroupCache(group_size=2, length=4)
    for layer, window in ((0, None), (1, 3), (2, 1), (3, 50)):
        cache.attend(layer, *[states(3, 5)] * 3, scale=1.0, window=window)
    assert [cache.prompts[layer][0].shape[2] for layer in range(4)] == [5, 2, 0, 5]
