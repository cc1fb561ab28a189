import numpy as np
import pytest
import torch
from PIL import Image

from rlvr_world_hf.pipeline import WorldModelPipeline
from tests.tiny import tiny_joint_processor, tiny_model, tiny_processor, tiny_rows, tiny_sensor_processor


PROCESSOR = tiny_processor()
PIPELINE = WorldModelPipeline(tiny_model(PROCESSOR), PROCESSOR)
ROWS = tiny_rows()
FRAME, ACTIONS = ROWS[0]["context"][0], ROWS[0]["actions"]  # (3, 16, 16) uint8, (4, 2)


@pytest.fixture(scope="module")
def expected():
    return PIPELINE(FRAME, ACTIONS, num_samples=2)


def test_prediction_has_the_declared_form(expected):
    assert expected.shape == (2, 3, 3, 16, 16)
    assert expected.dtype == torch.float32
    assert expected.min() >= 0 and expected.max() <= 1


@pytest.mark.parametrize(
    "frames",
    [
        FRAME,
        torch.from_numpy(FRAME.copy()),
        FRAME.astype(np.float32) / 255,
        FRAME.transpose(1, 2, 0),
        FRAME.transpose(1, 2, 0)[None],
        FRAME[None],
        Image.fromarray(FRAME.transpose(1, 2, 0)),
        [Image.fromarray(FRAME.transpose(1, 2, 0)).convert("RGBA")],
        [FRAME],
    ],
    ids=["chw", "tensor", "float", "hwc", "thwc", "tchw", "image", "image list", "array list"],
)
def test_frames_are_taken_in_every_usual_form(frames, expected):
    assert torch.equal(PIPELINE(frames, ACTIONS.tolist(), num_samples=2), expected)


def test_last_action_influences_nothing_and_may_be_left_out(expected):
    assert torch.equal(PIPELINE(FRAME, ACTIONS[:-1], num_samples=2, horizon=3), expected)


def test_shorter_horizon_is_the_beginning_of_a_longer_one():
    torch.testing.assert_close(PIPELINE(FRAME, ACTIONS, horizon=1), PIPELINE(FRAME, ACTIONS)[:, :1])


def test_seed_decides_the_noise(expected):
    assert torch.equal(PIPELINE(FRAME, ACTIONS, num_samples=2, seed=0), expected)
    assert not torch.equal(PIPELINE(FRAME, ACTIONS, num_samples=2, seed=1), expected)
    greedy = PIPELINE(FRAME, ACTIONS, num_samples=2, temperature=0.0)
    assert torch.equal(greedy[0], greedy[1])


def test_batch_predicts_what_single_calls_predict():
    rows = [ROWS[0], ROWS[1]]
    batch = PIPELINE.predict_batch([row["context"] for row in rows], [row["actions"] for row in rows], num_samples=2)
    assert batch.shape == (2, 2, 3, 3, 16, 16)
    for index, row in enumerate(rows):
        torch.testing.assert_close(batch[index], PIPELINE(row["context"], row["actions"], num_samples=2, seed=index))


def test_saved_pipeline_predicts_the_same(tmp_path, expected):
    folder = PIPELINE.save_pretrained(tmp_path / "world")
    loaded = WorldModelPipeline.from_pretrained(folder)
    assert torch.equal(loaded(FRAME, ACTIONS, num_samples=2), expected)


@pytest.mark.parametrize(
    ("frames", "actions", "error", "words"),
    [
        (FRAME[0], ACTIONS, ValueError, "Expected frames of shape"),
        (FRAME[None, None], ACTIONS, ValueError, "several situations to `predict_batch`"),
        ("frame.png", ACTIONS, TypeError, "got str"),
        ([], ACTIONS, ValueError, "empty list"),
        (np.stack([FRAME, FRAME]), ACTIONS, ValueError, "1 context frames"),
        (FRAME[:, :8], ACTIONS, ValueError, "resize the"),
        (FRAME.astype(np.float32), ACTIONS, ValueError, "divide by 255"),
        (FRAME, ACTIONS[0], ValueError, "one row a frame"),
        (FRAME, ACTIONS[:1], ValueError, "leave no frame to predict"),
        (FRAME, ACTIONS[:, :1], ValueError, "Expected `actions` of shape"),
    ],
)
def test_what_does_not_fit_is_refused(frames, actions, error, words):
    with pytest.raises(error, match=words):
        PIPELINE(frames, actions)


def test_batch_needs_actions_for_all_frames():
    with pytest.raises(ValueError, match="same situations, got 2 and 1"):
        PIPELINE.predict_batch([FRAME, FRAME], [ACTIONS])


@pytest.fixture(scope="module")
def sensors():
    processor = tiny_sensor_processor()
    return WorldModelPipeline(tiny_model(processor), processor)


@pytest.fixture(scope="module")
def joint():
    processor = tiny_joint_processor()
    return WorldModelPipeline(tiny_model(processor), processor)


def test_states_are_predicted_from_states(sensors):
    row = tiny_rows(predicts=("sensors",))[0]
    predicted = sensors(row["context"], row["actions"], num_samples=2)
    assert predicted.shape == (2, 3, 3) and predicted.dtype == torch.float32
    for states in (row["context"][0], row["context"].tolist(), torch.tensor(row["context"])):
        assert torch.equal(sensors(states, row["actions"], num_samples=2), predicted)
    assert torch.equal(sensors(row["context"], row["actions"], horizon=1), predicted[:1, :1])
    with pytest.raises(ValueError, match="Expected states of shape"):
        sensors(row["context"][None], row["actions"])
    with pytest.raises(ValueError, match="`context` of shape"):
        sensors(row["context"][:, :2], row["actions"])


def test_frames_and_states_are_predicted_together(joint, tmp_path):
    rows = tiny_rows(predicts=("frames", "sensors"))
    first, second = (
        joint(row["context"], row["actions"], states=row["context_states"], num_samples=2, seed=seed)
        for seed, row in enumerate([rows[0], rows[1]])
    )
    assert first["predicted"].shape == (2, 3, 3, 16, 16) and first["predicted_states"].shape == (2, 3, 3)
    names = ("context", "actions", "context_states")
    frames, actions, states = ([rows[0][name], rows[1][name]] for name in names)
    batch = joint.predict_batch(frames, actions, states=states, num_samples=2)
    for name, futures in batch.items():
        torch.testing.assert_close(futures, torch.stack([first[name], second[name]]))
    loaded = WorldModelPipeline.from_pretrained(joint.save_pretrained(tmp_path / "world"))
    again = loaded(frames[0], actions[0], states=states[0], num_samples=2)
    assert all(torch.equal(again[name], first[name]) for name in first)
    with pytest.raises(ValueError, match="as this world has sensors, got none"):
        joint(frames[0], actions[0])


def test_candidates_of_one_situation_are_predicted_as_one_by_one():
    actions = 512 * torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(0))
    together = PIPELINE.predict_candidates(FRAME, actions.tolist(), horizon=3, seed=5)
    assert together.shape == (4, 3, 3, 16, 16)
    for number, one in enumerate(actions):
        alone = PIPELINE(FRAME, one, horizon=3, num_samples=4, seed=5)[number]
        torch.testing.assert_close(alone, together[number])
    likeliest = PIPELINE.predict_candidates(FRAME, actions, horizon=3, temperature=0.0)
    assert torch.equal(PIPELINE.predict_candidates(FRAME, actions, temperature=0.0), likeliest[:, :2])


def test_candidates_of_sensors_and_of_both():
    for processor, given in ((tiny_sensor_processor(), {}), (tiny_joint_processor(), {"states": [0.0] * 3})):
        pipeline = WorldModelPipeline(tiny_model(processor), processor)
        first = FRAME if given else [0.0] * 3
        predicted = pipeline.predict_candidates(first, np.full((5, 2, 2), 9.0), horizon=2, **given)
        states = predicted["predicted_states"] if given else predicted
        assert states.shape == (5, 2, 3)


@pytest.mark.parametrize("actions", [ACTIONS, np.zeros((0, 4, 2))])
def test_candidates_are_sequences(actions):
    with pytest.raises(ValueError, match=r"actions of shape \(N, T, A\)"):
        PIPELINE.predict_candidates(FRAME, actions)
