"""Against counting: which states and actions stand where, by their numbers."""

import pytest

from rlvr_world_hf.processors.layout import TokenLayout
from rlvr_world_hf.rollouts.sliding import slide_windows, window_after


def layout(context_frames: int, observed_steps: int) -> TokenLayout:
    of_context = {"context_codebook_size": 8, "context_grid": (2, 2)}
    return TokenLayout(
        **(of_context if context_frames else {"context_codebook_size": 0, "context_grid": (0, 0)}),
        dynamics_codebook_size=8,
        dynamics_grid=(1, 1),
        action_bins=4,
        action_dims=2,
        context_frames=context_frames,
        observed_steps=observed_steps,
    )


@pytest.mark.parametrize(("context_frames", "observed_steps"), [(1, 0), (1, 1), (1, 3), (2, 2), (0, 1), (0, 4)])
def test_a_window_is_given_the_last_states_and_the_actions_from_its_first_observed_step(
    context_frames: int, observed_steps: int
) -> None:
    """State `i` is number `i`, the present one number 0; an action has the number of the state it is taken at."""
    given, past = context_frames + observed_steps, max(observed_steps, 1) - 1
    for done in range(6):
        states, actions = list(range(1 - given, done + 1)), list(range(-past, 12))
        window = window_after(layout(context_frames, observed_steps), done, steps=3)
        assert states[window.given] == states[-given:] and states[window.given][-1] == done
        assert actions[window.actions] == list(range(done - past, done + 3)), "the last one leads to the last step"
        if observed_steps:
            assert actions[window.actions][0] == states[window.given][context_frames], "the first observed step"


@pytest.mark.parametrize("steps", [1, 3, 6, 7])
def test_windows_follow_one_another_and_the_last_one_may_be_shorter(steps: int) -> None:
    windows = list(slide_windows(layout(1, 1), steps=steps, horizon=3))
    assert [step for window in windows for step in range(window.done, window.done + window.steps)] == [*range(steps)]
    assert [window.steps for window in windows[:-1]] == [3] * (len(windows) - 1) and 1 <= windows[-1].steps <= 3


@pytest.mark.parametrize(("steps", "horizon"), [(0, 3), (3, 0)])
def test_windows_without_a_step_are_refused(steps: int, horizon: int) -> None:
    with pytest.raises(ValueError, match=f"got {steps} in windows of {horizon}"):
        next(slide_windows(layout(1, 1), steps=steps, horizon=horizon))
