from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.playground.play import Play
from rlvr_world_hf.processors.base import state_columns
from rlvr_world_hf.worlds.pusht.law import ActionLaw
from rlvr_world_hf.worlds.pusht.playground import Playground
from rlvr_world_hf.worlds.pusht.policies import MARGIN, REACH, WORLD_SIZE
from rlvr_world_hf.worlds.pusht.simulator import Recording, record_policy
from tests.tiny import tiny_model, tiny_processor


PROCESSOR = tiny_processor(observed_steps=1)


def pipelines(processor: Any) -> dict[str, WorldModelPipeline]:
    return {
        name: WorldModelPipeline(tiny_model(processor, seed=seed), processor)
        for seed, name in enumerate(("base", "rlvr"))
    }


PIPELINES = pipelines(PROCESSOR)
"""Of one target an action, as those that name no law."""
SEED, FAR = 3, [(100.0, 400.0), (450.0, 60.0)]


class Recorder:
    """A pipeline that predicts grey frames, a little lighter each call, and keeps what it was called with."""

    def __init__(self, processor: Any = PROCESSOR) -> None:
        self.processor = processor
        self.calls: list[SimpleNamespace] = []

    def predict_batch(self, frames: Any, actions: Any, *, horizon: int, states: Any = None, **sampling: float) -> Any:
        """Where it is told states, those it gives are the number of the call."""
        self.calls.append(SimpleNamespace(frames=frames, actions=actions, states=states, horizon=horizon, **sampling))
        grey = torch.full((len(frames), 1, horizon, 3, 16, 16), 20 * len(self.calls) / 255)
        if states is None:
            return grey
        return {"predicted": grey, "predicted_states": torch.full((len(frames), 1, horizon, 2), len(self.calls))}


@pytest.fixture(scope="module", params=[None, "relative", "told agent"])
def playground(request: pytest.FixtureRequest) -> Playground:
    """Of models that name no law, of relative actions, and of these with the agent's position beside frames."""
    of = PIPELINES
    if request.param is not None:
        is_told = request.param == "told agent"
        of = pipelines(tiny_processor(observed_steps=1, action_law="relative", is_told_agent=is_told))
    return Playground(of, horizon=2, max_steps=5, max_total=12, scripted_steps=3, recorded_steps=7)


@pytest.fixture(scope="module")
def start(playground: Playground) -> Play:
    return playground.start(SEED)


def walk(playground: Playground, play: Play, targets: Any, **sampling: Any) -> Play:
    for last in playground.advance(play, playground.plan(play, targets).actions, **sampling):
        play = last
    return play


@pytest.fixture(scope="module")
def play(playground: Playground, start: Play) -> Play:
    return walk(playground, start, FAR)


def replay(actions: np.ndarray) -> Iterator[Recording]:
    """The world at the start and after each action."""
    law: ActionLaw = "absolute" if actions.shape[1] == 2 else "relative"
    recording = record_policy(SEED, length=3, image_size=16, frame_interval=0.5, action_law=law)
    yield recording
    for action in actions:
        recording.act(action)
        yield recording


def test_start_shows_the_first_frames_and_nothing_done(start: Play) -> None:
    dims = start.actions.shape[1]
    (recording,) = replay(start.actions)
    assert np.array_equal(start.now, recording.frame().transpose(1, 2, 0))
    assert np.array_equal(start.given[0], recording.episode().frames[-1].transpose(1, 2, 0))
    assert start.given.shape == (2, 16, 16, 3) and start.steps == 0 and start.before.shape == (3, dims)
    assert start.predicted["rlvr"].shape == (1, 0, 16, 16, 3) and start.metrics["rlvr"]["mae"].shape == (1, 0)


def test_simulator_shows_what_the_actions_do(play: Play) -> None:
    frames = [recording.frame().transpose(1, 2, 0) for recording in replay(play.actions)][1:]
    assert len(frames) == 5 and not np.array_equal(frames[0], frames[-1])
    assert np.array_equal(play.truth, np.stack(frames)) and np.array_equal(play.now, frames[-1])


def test_a_far_target_is_walked_to_in_steps_within_reach(playground: Playground, start: Play) -> None:
    plan, target = playground.plan(start, [FAR[0]]), np.array(FAR[0])
    agents = np.stack([recording.agent.copy() for recording in replay(plan.actions)])
    assert np.array_equal(agents[0], start.agent)
    assert 1 < len(plan.actions) == np.ceil(np.linalg.norm(target - agents[0]) / REACH)
    assert np.linalg.norm(plan.aims - agents[:-1], axis=1).max() <= REACH + 1e-2
    if plan.actions.shape[1] == 2:
        assert np.array_equal(plan.actions, plan.aims)
    else:
        assert plan.actions.shape[1] == 10 and np.abs(plan.actions).max() <= REACH / 100
    assert np.linalg.norm(agents[-1] - target) < np.linalg.norm(agents[0] - target) - 100


def test_plan_ends_at_the_last_step_and_leaves_the_other_targets_out(playground: Playground, start: Play) -> None:
    plan, longer = (playground.plan(start, FAR * many) for many in (1, 10))
    assert len(plan.actions) == 5 and plan.targets == tuple(FAR)
    assert longer.targets == plan.targets and np.array_equal(longer.actions, plan.actions)
    assert playground.plan(start, []).actions.shape == start.actions.shape


def test_targets_beyond_the_walls_lie_at_them(playground: Playground, start: Play) -> None:
    assert playground.plan(start, [(-100.0, 1000.0)]).targets == ((MARGIN, WORLD_SIZE - MARGIN),)


@pytest.mark.parametrize("target", [(1.0,), (np.nan, 0.0), (1.0, float("inf")), [1, 2, 3], {"x": 1}, "far", None])
def test_what_is_no_target_is_refused(playground: Playground, start: Play, target: Any) -> None:
    with pytest.raises(ValueError, match="Expected a target as two numbers"):
        playground.plan(start, [target])


def test_every_step_is_shown_as_soon_as_it_is_there(playground: Playground, start: Play) -> None:
    actions = playground.plan(start, FAR).actions
    plays = list(playground.advance(start, actions, samples=2, temperature=1.0))
    assert [play.steps for play in plays] == [1, 2, 3, 4, 5]
    for play in plays:
        for name in PIPELINES:
            assert play.predicted[name].shape == (2, play.steps, 16, 16, 3)
            assert np.array_equal(play.predicted[name], plays[-1].predicted[name][:, : play.steps])
            assert play.metrics[name]["ssim"].shape == play.repeated[name].shape == (2, play.steps)


def test_a_window_is_what_the_pipeline_predicts_at_once(playground: Playground, start: Play, play: Play) -> None:
    whole = state_columns(
        playground.pipelines["rlvr"](
            list(start.given), play.actions[:2], states=start.given_states, horizon=2, temperature=0.0
        )
    )["predicted"]
    shown = torch.from_numpy(play.predicted["rlvr"][0, :2]).permute(0, 3, 1, 2).float() / 255
    assert (whole[0] - shown).abs().max() <= 0.5 / 255 + 1e-6


def test_models_predict_in_windows_on_their_own_frames(playground: Playground, start: Play) -> None:
    recorder = Recorder(playground.pipelines["rlvr"].processor)
    own = Playground({"rlvr": recorder}, horizon=2, max_steps=5, scripted_steps=3)  # type: ignore[dict-item]
    begun = own.start(SEED)
    actions = own.plan(begun, FAR).actions
    *_, play = own.advance(begun, actions, samples=2, temperature=0.5, sampling_seed=7)
    assert [(call.horizon, call.seed, call.temperature) for call in recorder.calls] == [
        (1, 7, 0.5),
        (2, 7, 0.5),
        (1, 15, 0.5),
        (2, 15, 0.5),
        (1, 23, 0.5),
    ]
    for call, given, first in zip(
        recorder.calls, (start.given, start.given, (20, 40), (20, 40), (60, 80)), (0, 0, 2, 2, 4), strict=True
    ):
        shown = given if isinstance(given, np.ndarray) else np.array(given).reshape(2, 1, 1, 1)
        assert all((frames == shown).all() for frames in call.frames) and len(call.frames) == 2
        assert np.array_equal(call.actions[1], actions[first : first + call.horizon])
    assert play.predicted["rlvr"][0, :, 0, 0, 0].tolist() == [20, 40, 60, 80, 100]
    if begun.given_states is None:
        assert all(call.states is None for call in recorder.calls) and not play.predicted_states
        return
    assert play.predicted_states["rlvr"][1, :, 0].tolist() == [1, 2, 3, 4, 5]
    for call, told in zip(
        recorder.calls, (begun.given_states, begun.given_states, (1, 2), (1, 2), (3, 4)), strict=True
    ):
        shown = told if isinstance(told, np.ndarray) else np.repeat(np.array(told)[:, None], 2, axis=1)
        assert all(np.array_equal(states, shown) for states in call.states) and len(call.states) == 2


def test_play_goes_on_from_where_it_is(playground: Playground, play: Play) -> None:
    on = walk(playground, play, [(256.0, 256.0)])
    assert on.steps > 5 and np.array_equal(on.truth[:5], play.truth)
    frames = [recording.frame().transpose(1, 2, 0) for recording in replay(on.actions)]
    assert np.array_equal(on.now, frames[-1])
    assert np.array_equal(on.predicted["base"][:, :5], play.predicted["base"])
    told = play.predicted_states["base"][0, -2:] if play.predicted_states else None
    again = state_columns(
        playground.pipelines["base"](
            list(play.predicted["base"][0, -2:]), on.actions[5:6], states=told, horizon=1, temperature=0.0
        )
    )["predicted"]
    shown = on.predicted["base"][0, 5].transpose(2, 0, 1) / 255
    assert np.abs(again[0, 0].numpy() - shown).max() <= 0.5 / 255 + 1e-6


def test_more_samples_branch_off_from_those_there_are(playground: Playground, play: Play) -> None:
    on = walk(playground, play, [(256.0, 256.0)], samples=3, temperature=1.0)
    assert on.predicted["rlvr"].shape[0] == 3
    assert all(np.array_equal(one[:5], play.predicted["rlvr"][0]) for one in on.predicted["rlvr"])
    assert not np.array_equal(on.predicted["rlvr"][0], on.predicted["rlvr"][1])
    assert walk(playground, on, [(256.0, 256.0)]).predicted["rlvr"].shape[0] == 1


def test_recorded_actions_are_those_of_the_episode(playground: Playground, start: Play) -> None:
    law = playground.form.action_law
    episode = record_policy(SEED, length=10, image_size=16, frame_interval=0.5, action_law=law).episode()
    first = playground.recorded_actions(start)
    assert np.array_equal(first, episode.actions[3:8])
    *_, play = playground.advance(start, first, replayed=True)
    assert play.replayed == 5
    shown = episode.frames[4:9].transpose(0, 2, 3, 1)
    assert np.abs(play.truth.astype(int) - shown).max() <= 1  # recorded actions are float32
    *_, play = playground.advance(play, playground.recorded_actions(play), replayed=True)
    assert (play.steps, play.replayed) == (7, 7) and not len(playground.recorded_actions(play))


def test_errors_are_those_of_the_shown_frames(play: Play) -> None:
    for name in PIPELINES:
        difference = play.predicted[name].astype(float) - play.truth
        expected = np.abs(difference).mean(axis=(2, 3, 4)) / 255
        assert np.abs(play.metrics[name]["mae"] - expected).max() < 1e-6 and expected.min() > 0.01
    assert not np.array_equal(play.metrics["base"]["mae"], play.metrics["rlvr"]["mae"])


def test_repeated_frames_are_flagged() -> None:
    class Still(Recorder):
        def predict_batch(self, frames: Any, actions: Any, *, horizon: int, **sampling: float) -> torch.Tensor:
            return torch.full((len(frames), 1, horizon, 3, 16, 16), 0.5)

    still = Playground({"rlvr": Still()}, horizon=2, max_steps=3)  # type: ignore[dict-item]
    assert walk(still, still.start(0), FAR).repeated["rlvr"].tolist() == [[False, True, True]]


def test_a_play_has_an_end_and_bounds(playground: Playground, start: Play, play: Play) -> None:
    for _ in range(2):
        play = walk(playground, play, FAR * 2)
    assert play.steps == 12 and not len(playground.plan(play, FAR).actions)
    assert not len(playground.recorded_actions(play))
    action = np.zeros((1, playground.form.action_dims))
    for settings, words in (
        ({"samples": 5}, "number of samples to be a"),
        ({"temperature": 9.0}, "temperature to be a"),
        ({"temperature": float("nan")}, "temperature to be a"),
        ({"sampling_seed": -1}, "seed of the sampling to be a"),
    ):
        with pytest.raises(ValueError, match=words):
            next(playground.advance(start, action, **settings))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="number of steps to be a whole number from 0 to"):
        next(playground.advance(start, np.repeat(action, 6, axis=0)))
    with pytest.raises(ValueError, match="number of steps in all to be"):
        next(playground.advance(play, action))
    with pytest.raises(ValueError, match="start to be a whole number"):
        playground.start(-1)


def test_a_model_without_observed_steps_sees_the_start_frame_alone() -> None:
    recorder = Recorder(tiny_processor())
    playground = Playground({"rlvr": recorder}, horizon=2)  # type: ignore[dict-item]
    walk(playground, playground.start(0), [(256.0, 256.0)])
    assert recorder.calls[0].frames[0].shape == (1, 16, 16, 3)
    assert len(recorder.calls[0].actions[0]) == recorder.calls[0].horizon


@pytest.mark.parametrize(
    ("pipelines", "settings", "words"),
    [
        ({}, {}, "Expected models by name"),
        ({"simulator": Recorder()}, {}, "none of them 'simulator'"),
        (
            {"base": Recorder(), "rlvr": Recorder(tiny_processor())},
            {},
            "got 'base' and 'rlvr' with given_frames 2 and 1; ",
        ),
        ({"base": Recorder(tiny_processor(image_size=24))}, {}, "Expected 'base' to be a world model of PushT"),
        ({"base": Recorder()}, {"horizon": 0}, "at least 1, got 0, 12, 120 and 8"),
    ],
)
def test_what_cannot_be_played_is_refused(pipelines: Any, settings: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Playground(pipelines, **settings)
