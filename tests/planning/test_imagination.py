"""Candidates predicted together are those predicted one by one, whatever a world is made of."""

from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.planning.imagination import ImaginedCost
from rlvr_world_hf.processors.text import LanguageWorldModelProcessor
from tests.tiny import (
    text_tokenizer,
    tiny_joint_processor,
    tiny_language_model,
    tiny_model,
    tiny_processor,
    tiny_sensor_processor,
)


def brightness(predicted: torch.Tensor) -> torch.Tensor:
    return predicted.mean(dim=tuple(range(1, predicted.ndim)))


def make(observed_steps: int) -> tuple[WorldModelPipeline, torch.Tensor]:
    processor = tiny_processor(observed_steps=observed_steps)
    frames = torch.rand(1 + observed_steps, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return WorldModelPipeline(tiny_model(processor), processor), frames


def candidates(count: int = 5, steps: int = 3) -> torch.Tensor:
    return 512 * torch.rand(count, steps, 2, generator=torch.Generator().manual_seed(2))


PAST = 512 * torch.rand(4, 2, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("observed_steps", [0, 1, 3])
@pytest.mark.parametrize("window", [None, 2, 1])
def test_together_as_one_by_one(observed_steps: int, window: int | None) -> None:
    pipeline, frames = make(observed_steps)
    settings: dict[str, Any] = {"past_actions": PAST, "window": window}
    objective = ImaginedCost(pipeline, frames, brightness, **settings)
    together = objective.predict(candidates())
    assert together.shape == (5, 3, 3, 16, 16)
    alone = torch.cat([objective.predict(one[None]) for one in candidates()])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(objective(candidates()), brightness(alone), atol=1e-5, rtol=0)
    assert (together[1:] - together[:1]).abs().amax(dim=(1, 2, 3, 4)).min() > 0


@pytest.mark.parametrize("observed_steps", [0, 1, 3])
def test_they_are_what_the_pipeline_predicts(observed_steps: int) -> None:
    pipeline, frames = make(observed_steps)
    predicted = ImaginedCost(pipeline, frames, brightness, past_actions=PAST).predict(candidates())
    past = PAST[len(PAST) - max(observed_steps - 1, 0) :]
    for one, expected in zip(candidates(), predicted, strict=True):
        again = pipeline(frames, torch.cat([past, one]), horizon=3, temperature=0.0)[0]
        torch.testing.assert_close(again, expected, atol=1e-5, rtol=0)


def test_windows_go_on_from_the_models_own_frames() -> None:
    pipeline, frames = make(1)
    predicted = ImaginedCost(pipeline, frames, brightness, window=2).predict(candidates())
    for one, expected in zip(candidates(), predicted, strict=True):
        first = pipeline(frames, one[:2], horizon=2, temperature=0.0)[0]
        second = pipeline(first, one[2:], horizon=1, temperature=0.0)[0]
        torch.testing.assert_close(torch.cat([first, second]), expected, atol=1e-5, rtol=0)


def test_of_noise_each_candidate_has_its_own_by_the_seed() -> None:
    pipeline, frames = make(1)
    same = candidates()[:1].expand(4, -1, -1)
    first, again, other = (
        ImaginedCost(pipeline, frames, brightness, temperature=1.0, seed=seed).predict(same) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other) and not torch.equal(first[0], first[1])
    likeliest = ImaginedCost(pipeline, frames, brightness).predict(same)
    assert torch.equal(likeliest[:1].expand_as(likeliest), likeliest)


def test_candidates_may_be_turned_into_actions() -> None:
    pipeline, frames = make(1)
    doubled = ImaginedCost(pipeline, frames, brightness, to_actions=lambda moves: 2 * moves)
    plain = ImaginedCost(pipeline, frames, brightness)
    assert torch.equal(doubled.predict(candidates() / 2), plain.predict(candidates()))


@pytest.mark.parametrize("window", [None, 1])
def test_worlds_of_sensors(window: int | None) -> None:
    processor = tiny_sensor_processor()
    pipeline = WorldModelPipeline(tiny_model(processor), processor)
    objective = ImaginedCost(pipeline, np.zeros((1, 3), np.float32), brightness, window=window)
    together = objective.predict(candidates())
    assert together.shape == (5, 3, 3)
    assert torch.equal(together, torch.cat([objective.predict(one[None]) for one in candidates()]))


def test_worlds_of_frames_and_sensors() -> None:
    processor = tiny_joint_processor()
    pipeline = WorldModelPipeline(tiny_model(processor), processor)
    frames, states = make(0)[1], torch.zeros(1, 3)
    objective = ImaginedCost(pipeline, frames, lambda both: brightness(both["predicted"]), states=states)
    together = objective.predict(candidates())
    assert together["predicted"].shape == (5, 3, 3, 16, 16) and together["predicted_states"].shape == (5, 3, 3)
    assert objective(candidates()).shape == (5,)
    cut = ImaginedCost(pipeline, frames, brightness, states=states, window=2).predict(candidates())
    for name, given in (("predicted", frames), ("predicted_states", states)):
        assert torch.equal(cut[name][:, :2], together[name][:, :2]), "the first window is the same"
        assert cut[name].shape == together[name].shape and given.shape[1:] == cut[name].shape[2:]
    (again,) = pipeline.predict_batch(  # the last window, on what was predicted before it
        [cut["predicted"][1, 1:2]], [candidates()[1, 2:]], states=[cut["predicted_states"][1, 1:2]], temperature=0.0,
        horizon=1,
    )["predicted_states"]  # fmt: skip
    assert torch.equal(again[0], cut["predicted_states"][1, 2:])


def test_what_is_missing_is_named() -> None:
    pipeline, frames = make(3)
    with pytest.raises(ValueError, match="last 2 actions before now"):
        ImaginedCost(pipeline, frames, brightness, past_actions=PAST[:1])
    with pytest.raises(ValueError, match="a window of at least 1 step"):
        ImaginedCost(pipeline, frames, brightness, past_actions=PAST, window=0)


def test_a_world_of_text_has_a_cost_of_its_own() -> None:
    tokenizer = text_tokenizer()
    processor = LanguageWorldModelProcessor(tokenizer)
    pipeline = WorldModelPipeline(tiny_language_model(tokenizer), processor)
    with pytest.raises(ValueError, match=r"got one with a `LanguageWorldModelProcessor`; .*planning\.TextCost"):
        ImaginedCost(pipeline, torch.zeros(1, 3, 16, 16), brightness)


def test_a_cost_that_asks_what_was_done_is_given_the_actions() -> None:
    pipeline, frames = make(0)

    class Obedience:
        needs_actions = True

        def __call__(self, predicted: torch.Tensor, *, actions: torch.Tensor) -> torch.Tensor:
            assert actions.shape[:2] == predicted.shape[:2]
            return actions.sum(dim=(1, 2))

    moves = candidates()
    torch.testing.assert_close(ImaginedCost(pipeline, frames, Obedience())(moves), moves.sum(dim=(1, 2)))
    turned: list[torch.Tensor] = []
    halved = ImaginedCost(pipeline, frames, Obedience(), to_actions=lambda moves: turned.append(moves) or moves / 2)
    torch.testing.assert_close(halved(moves), moves.sum(dim=(1, 2)) / 2)
    assert len(turned) == 1
