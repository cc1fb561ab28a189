import numpy as np
import pytest

from rlvr_world_hf.data.windows import count_windows, cut_window, windows


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
