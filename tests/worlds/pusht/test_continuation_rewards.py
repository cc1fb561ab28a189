"""The distance to what the simulator gives with other noise, of predictions whose law is known."""

import pickle

import numpy as np
import pytest
import torch

from rlvr_world_hf.data import window_rows
from rlvr_world_hf.evaluation.metrics import measure, predict_law
from rlvr_world_hf.evaluation.predictions import Predictions, row_batches
from rlvr_world_hf.worlds.pusht.agent import locate_agent
from rlvr_world_hf.worlds.pusht.continuation_rewards import ContinuationDistanceReward
from rlvr_world_hf.worlds.pusht.continuations import continue_episode
from rlvr_world_hf.worlds.pusht.simulator import collect_episodes


SETTINGS = {"image_size": 32, "frame_interval": 0.5, "action_noise": 20.0, "states": "agent_and_block"}
GIVEN, HORIZON, SAMPLES = 2, 2, 32


@pytest.fixture(scope="module")
def rows():
    episodes = list(collect_episodes([2, 4, 6], length=6, policies={"near_block": 1}, **SETTINGS))
    return window_rows(episodes, context_frames=1, observed_steps=1, horizon=HORIZON, stride=2)


@pytest.fixture(scope="module")
def batch(rows):
    (batch,) = row_batches(rows, size=len(rows))
    return batch


@pytest.fixture(scope="module")
def guesses(rows):
    """Frames and states `(B, SAMPLES, HORIZON, ...)`: by the law, what would follow without noise, and its mean."""
    found = {}
    for name, noise in (("law", 20.0), ("certain", None)):
        of_rows = []
        for row in rows:
            step, done = row["start"] + GIVEN - 1, row["actions"][-1 - HORIZON : -1]
            samples = SAMPLES if noise else 1
            # Numbers that the metric does not draw.
            of_rows.append(continue_episode(row["episode"], step, done, samples=samples, first=1000, **SETTINGS))
        found[name] = [
            torch.from_numpy(np.stack([getattr(one, part).repeat(SAMPLES // len(one.states), 0) for one in of_rows]))
            for part in ("frames", "states")
        ]
    return found


def measured(batch, frames, states=None, *, metric=None, readable=None) -> torch.Tensor:
    metric = metric or ContinuationDistanceReward()
    readable = torch.ones(frames.shape[:2], dtype=torch.bool) if readable is None else readable
    predicted = Predictions(predicted=frames.float() / 255, readable=readable, predicted_states=states)
    return measure(predicted, batch, [metric])[metric.name]


def test_the_law_itself_has_no_distance_and_one_answer_has(batch, guesses):
    law, certain = (measured(batch, *guesses[name]) for name in ("law", "certain"))
    assert law.shape == (len(batch.indices), SAMPLES) and (law == law[:, :1]).all(), "one value a row"
    assert law.mean().item() == pytest.approx(0, abs=0.015)
    assert (certain.mean(dim=1) > 0.04).all()


def test_sensors_beside_frames_say_the_same(batch, guesses):
    metric = ContinuationDistanceReward(reads="sensors")
    assert metric.name == "law_distance_sensors"
    for name in ("law", "certain"):
        of_frames = measured(batch, *guesses[name])
        of_sensors = measured(batch, *guesses[name], metric=metric)
        torch.testing.assert_close(of_sensors, of_frames, atol=0.005, rtol=0.05)


def test_sensors_alone_are_read(guesses):
    episodes = list(collect_episodes([1], length=5, **SETTINGS | {"states": "agent"}, frames=False))
    rows = window_rows(episodes, context_frames=0, observed_steps=2, horizon=HORIZON)
    (batch,) = row_batches(rows, size=len(rows))
    step, done = rows[0]["start"] + 1, rows[0]["actions"][-1 - HORIZON : -1]
    law = continue_episode(
        rows[0]["episode"], step, done, samples=SAMPLES, first=500, frames=False, **SETTINGS | {"states": "agent"}
    )
    predicted = torch.from_numpy(law.states)[None].expand(len(rows), -1, -1, -1)
    readable = torch.ones(predicted.shape[:2], dtype=torch.bool)
    distance = measure(Predictions(predicted=predicted, readable=readable), batch, [ContinuationDistanceReward()])
    assert abs(distance["law_distance"][0, 0]) < 0.02 < distance["law_distance"][1, 0], "the other step's is another"


def test_the_row_of_the_law_has_further_continuations_with_states_beside_frames(rows, batch, guesses):
    every = [ContinuationDistanceReward(), ContinuationDistanceReward(reads="sensors")]
    for metric in every:
        assert metric.knows_law
        law = predict_law(batch, metric=metric, count=SAMPLES)
        assert law.predicted.shape == (len(rows), SAMPLES, HORIZON, 3, 32, 32) and law.readable.all()
        assert law.predicted_states.shape == (len(rows), SAMPLES, HORIZON, 6)
        for name, values in measure(law, batch, every).items():
            if name.startswith("law_distance"):
                assert values.mean().item() == pytest.approx(0, abs=0.015)
    step, done = rows[1]["start"] + GIVEN - 1, rows[1]["actions"][-1 - HORIZON : -1]
    own = continue_episode(rows[1]["episode"], step, done, samples=2, first=64, **SETTINGS)  # those after the metric's
    torch.testing.assert_close(law.predicted[1, :2] * 255, torch.from_numpy(own.frames).float())
    assert torch.equal(law.predicted_states[1, :2], torch.from_numpy(own.states))


def test_what_shows_nothing_is_far_and_the_unreadable_farther(batch, guesses):
    frames = guesses["law"][0]
    blank = measured(batch, torch.full_like(frames, 255))
    assert (blank > 2).all()
    readable = torch.ones(frames.shape[:2], dtype=torch.bool)
    readable[:, 0] = False
    values = measured(batch, frames, readable=readable)
    assert (values[:, 0] == ContinuationDistanceReward().floor_of(batch.reference[0])).all()
    assert (values[:, 0] > blank[:, 0]).all() and (values[:, 1:] < 0.1).all()


def test_padding_does_not_count(rows, batch, guesses):
    frames = guesses["law"][0].clone()
    masked = batch.take(torch.arange(len(rows)))
    masked.reference_mask[:, 1:] = False
    once = measured(masked, frames)
    frames[:, :, 1] = 255
    assert torch.equal(measured(masked, frames), once) and once.mean().item() == pytest.approx(0, abs=0.015)
    assert (measured(batch, frames) > 1).all()


def test_noise_may_push_things_out_of_the_frame():
    """That is then a part of the law: predictions in which it never happens are far from it."""
    (episode,) = collect_episodes([0], length=4, policies={"still": 1}, **SETTINGS)
    (row,) = window_rows([episode], context_frames=1, observed_steps=1, horizon=2)
    place = episode.states[1, 0]
    way = 512 - place if place > 256 else -place  # to the nearer border; two full targets lead about 397 units
    leaves = np.tile(np.float32([way / 397, 0] * 5), (2, 1))
    row["actions"] = np.concatenate([row["actions"][:1], leaves, leaves[:1]])
    (batch,) = row_batches([row], size=1)
    law = continue_episode(episode.episode_id, 1, leaves, samples=SAMPLES, first=9, **SETTINGS).frames[None]
    is_seen = ~locate_agent(torch.from_numpy(law) / 255)[0, :, :, 0].isnan()
    assert is_seen[:, 0].all() and 0.2 < is_seen[:, 1].float().mean() < 0.9
    assert abs(measured(batch, torch.from_numpy(law))[0, 0]) < 0.1
    stays = torch.from_numpy(law[:, is_seen[:, 1]])
    assert measured(batch, stays)[0, 0] > 0.1


@pytest.mark.parametrize("wrong", [{"action_noise": 0.0}, {"action_noise": 10.0}])
def test_episodes_of_other_noise_are_refused(batch, guesses, wrong):
    with pytest.raises(ValueError, match=r"recorded with `action_noise` .*give the metric the settings of `collect`"):
        measured(batch, guesses["law"][0], metric=ContinuationDistanceReward(**wrong))


def test_it_is_the_same_for_a_row_whatever_stands_beside_it_and_after_pickling(batch, guesses):
    every = measured(batch, guesses["law"][0])
    turned = torch.arange(len(batch.indices)).flip(0)
    metric = pickle.loads(pickle.dumps(ContinuationDistanceReward()))
    torch.testing.assert_close(measured(batch.take(turned), guesses["law"][0][turned], metric=metric), every[turned])


def test_rows_that_do_not_say_where_they_are_from_are_refused(rows, guesses):
    (batch,) = row_batches([{name: row[name] for name in row if name != "start"} for row in rows], size=len(rows))
    with pytest.raises(ValueError, match="expected `places`, the episode of each row"):
        measured(batch, guesses["law"][0])


@pytest.mark.parametrize(("wrong", "words"), [({"reads": "frames"}, "reads"), ({"samples": 1}, "at least 2")])
def test_wrong_settings_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        ContinuationDistanceReward(**wrong)
