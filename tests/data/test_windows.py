import numpy as np
import pytest

from rlvr_world_hf.data import window_rows
from rlvr_world_hf.data.windows import count_windows, cut_window, draw_context, windows


def numbers(array: np.ndarray) -> list[int]:
    """The time that each entry along the first axis was recorded at."""
    return array.reshape(len(array), -1)[:, 0].astype(int).tolist()


@pytest.mark.parametrize(
    ("context_frames", "observed_steps", "given", "acting", "predicted"),
    [
        (1, 0, [2], [2, 3, 4, 5], [3, 4, 5]),
        (2, 0, [2, 3], [3, 4, 5, 6], [4, 5, 6]),
        (1, 1, [2, 3], [3, 4, 5, 6], [4, 5, 6]),
        (2, 2, [2, 3, 4, 5], [4, 5, 6, 7, 8], [6, 7, 8]),
        (0, 3, [2, 3, 4], [2, 3, 4, 5, 6, 7], [5, 6, 7]),
    ],
)
def test_actions_begin_at_the_last_context_frame_or_the_first_observed_step(
    number, context_frames, observed_steps, given, acting, predicted
) -> None:
    """`actions[t]` leads from frame t to frame t + 1, so the first predicted frame has its action in the window."""
    window = cut_window(number("a", 12), 2, context_frames=context_frames, observed_steps=observed_steps, horizon=3)
    assert (window.episode_id, window.start) == ("a", 2)
    assert numbers(window.context) == given
    assert numbers(window.actions) == acting
    assert len(window.actions) == max(observed_steps, 1) + 3
    assert numbers(window.reference) == predicted == numbers(window.reference_states)
    assert window.reference_mask.tolist() == [True] * 3


def test_what_is_missing_at_the_end_is_padded_and_masked(number) -> None:
    window = cut_window(number("a", 6), 3, context_frames=1, observed_steps=0, horizon=4)
    assert numbers(window.reference) == [4, 5, 5, 5] == numbers(window.reference_states)
    assert window.reference_mask.tolist() == [True, True, False, False]
    assert numbers(window.actions) == [3, 4, 5, 5, 5]
    assert window.reference_mask.dtype == bool and window.reference.dtype == np.uint8


def test_states_that_are_unknown_stay_unknown(number) -> None:
    window = cut_window(number("a", 4, with_states=False), 0, context_frames=1, observed_steps=0, horizon=2)
    assert window.reference_states is None


@pytest.mark.parametrize("start", [-1, 4, 9])
def test_a_window_without_a_frame_to_predict_is_refused(number, start: int) -> None:
    with pytest.raises(ValueError, match=r"'a' has 6 frames: .* given 2 frames leaves none .* from 0 to 3, or drop"):
        cut_window(number("a", 6), start, context_frames=1, observed_steps=1, horizon=2)


def test_a_window_without_a_given_frame_is_refused(number) -> None:
    with pytest.raises(ValueError, match="at least 1 observed step, got 0"):
        cut_window(number("a", 6), 0, context_frames=0, observed_steps=0, horizon=2)


@pytest.mark.parametrize(
    ("stride", "starts"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (3, [0, 3]), (4, [0, 4]), (9, [0])]
)
def test_every_start_that_leaves_a_frame_to_predict_is_a_window(number, stride: int, starts: list[int]) -> None:
    given = {"context_frames": 1, "observed_steps": 1}
    found = [window.start for window in windows(number("a", 7), **given, horizon=3, stride=stride)]
    assert found == starts
    assert count_windows(number("a", 7), **given, stride=stride) == len(starts)
    assert count_windows(number("a", 2), **given) == 0


def test_a_context_is_drawn_from_the_frames_up_to_the_first_observed_one(number) -> None:
    episode = number("a", 40)
    rows = window_rows([episode], observed_steps=1, horizon=2, context_reach=15)
    behind = []
    for row in rows:
        context, observed = numbers(row["context"])
        assert numbers(row["context_states"]) == [context, observed]
        assert observed == row["start"] + 1
        assert numbers(row["reference"]) == [observed + 1, observed + 2]
        behind.append(observed - context)
        assert 0 <= behind[-1] <= min(14, observed)
    assert len(set(behind)) > 10
    again = window_rows([episode], observed_steps=1, horizon=2, context_reach=15)
    assert all(np.array_equal(row["context"], other["context"]) for row, other in zip(rows, again, strict=True))
    for given in ({"observed_steps": 0}, {"context_frames": 0, "observed_steps": 1}):
        with pytest.raises(ValueError, match="must not be one to predict"):
            window_rows([episode], **given, horizon=2, context_reach=15)


def test_a_drawn_context_is_evenly_spread() -> None:
    drawn = [draw_context(30, context_reach=15, seed=[number]) for number in range(3000)]
    counts = np.bincount(drawn)[17:]
    assert min(drawn) == 17 and max(drawn) == 31
    assert counts.min() > 140 and counts.max() < 260
    assert {draw_context(2, context_reach=15, seed=[number]) for number in range(50)} == {0, 1, 2, 3}
