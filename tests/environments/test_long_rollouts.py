"""Against slow computations of each row on its own."""

import numpy as np
import pytest
import torch

from rlvr_world_hf.data import window_rows
from rlvr_world_hf.environments.long_rollouts import predict_autoregressively, reconstruct_autoregressively
from rlvr_world_hf.evaluation.predictions import (
    Sampling,
    predict_checkpoint,
    predict_tokenizer_floor,
    row_batches,
)
from tests.environments.worlds import WORLDS, make_episodes, make_pipeline


HORIZON, FRAMES = 3, 8
"""Two windows and the beginning of a third."""


@pytest.fixture(scope="module", params=["frames", "observed frames", "both"])
def video(request):
    """A pipeline and a batch of four rows."""
    pipeline = make_pipeline(WORLDS[request.param]())
    layout = pipeline.processor.layout
    given = {"context_frames": layout.context_frames, "observed_steps": layout.observed_steps}
    episodes = make_episodes(pipeline.processor.predicts, count=2, length=sum(given.values()) + FRAMES + 1)
    rows = window_rows(episodes, **given, horizon=FRAMES)
    (batch,) = row_batches(rows, size=10)
    assert len(batch.indices) == 4
    return pipeline, batch


def test_frames_within_the_horizon_are_the_ordinary_prediction(video):
    pipeline, batch = video
    greedy = Sampling(temperature=0.0)
    rolled = predict_autoregressively(batch, pipeline=pipeline, horizon=HORIZON)
    ordinary = predict_checkpoint(batch, model=pipeline.model, processor=pipeline.processor, sampling=greedy)
    assert rolled.predicted.shape == (4, 1, FRAMES, 3, 16, 16) and rolled.readable.all()
    torch.testing.assert_close(rolled.predicted[:, :, :HORIZON], ordinary.predicted[:, :, :HORIZON])
    assert (rolled.predicted - ordinary.predicted)[:, :, HORIZON:].abs().max() > 0, "then the window slides"


def test_windows_slide_over_predicted_frames(video):
    """Each window of each row is a call of the pipeline, given its own last frames and the true actions."""
    pipeline, batch = video
    past = pipeline.processor.layout.prompt_actions - 1
    rolled = predict_autoregressively(batch, pipeline=pipeline, horizon=HORIZON)
    for row in range(4):
        frames, states = batch.context[row], None if batch.context_states is None else batch.context_states[row]
        given = len(frames)
        for done in range(0, FRAMES, HORIZON):
            ahead = min(HORIZON, FRAMES - done)
            predicted = pipeline(
                frames[-given:],
                batch.actions[row, done : done + past + ahead],
                **({} if states is None else {"states": states[-given:]}),
                horizon=ahead,
                temperature=0.0,
            )
            if states is not None:
                states = torch.cat([states, predicted["predicted_states"][0]])
                predicted = predicted["predicted"]
            frames = torch.cat([frames, predicted[0]])
        torch.testing.assert_close(rolled.predicted[row, 0], frames[given:])
        if states is not None:
            torch.testing.assert_close(rolled.predicted_states[row, 0], states[given:])


def test_noise_is_that_of_the_row_and_the_seed(video):
    pipeline, batch = video
    options = {"pipeline": pipeline, "horizon": HORIZON, "sampling": Sampling()}
    first, again, other = (
        predict_autoregressively(batch, **options, sampling_seed=seed).predicted for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def codes_read_back(processor, frames, context):
    """Frames `(S, 3, H, W)` through the codec, given frames `(K + M, 3, H, W)`."""
    context = context[None, : processor.layout.context_frames]
    codes = processor.codec.encode(frames[None], context_frames=context)
    return processor.codec.decode(codes, context_frames=context)[0]


@pytest.mark.parametrize("feeds_back", [False, True])
@torch.no_grad()
def test_the_floor_is_the_true_frames_encoded_and_decoded(video, feeds_back):
    processor, batch = video[0].processor, video[1]
    floor = reconstruct_autoregressively(batch, processor=processor, horizon=HORIZON, feeds_back=feeds_back)
    given = batch.context.shape[1]
    for row in range(4):
        recorded = torch.cat([batch.context[row], batch.reference[row]])
        seen = batch.context[row]
        for done in range(0, FRAMES, HORIZON):
            context = seen[-given:] if feeds_back else recorded[done : done + given]
            seen = torch.cat([seen, codes_read_back(processor, batch.reference[row, done : done + HORIZON], context)])
        torch.testing.assert_close(floor.predicted[row, 0], seen[given:])


def test_both_floors_begin_as_the_ordinary_one(video):
    processor, batch = video[0].processor, video[1]
    ordinary = predict_tokenizer_floor(batch, processor=processor).predicted[:, :, :HORIZON]
    for feeds_back in (False, True):
        floor = reconstruct_autoregressively(batch, processor=processor, horizon=HORIZON, feeds_back=feeds_back)
        torch.testing.assert_close(floor.predicted[:, :, :HORIZON], ordinary)


def test_actions_that_come_later_change_nothing_before(video):
    pipeline, batch = video
    past = pipeline.processor.layout.prompt_actions - 1
    before = predict_autoregressively(batch, pipeline=pipeline, horizon=HORIZON).predicted
    saved = batch.actions.clone()
    batch.actions[:, past + 5 :] = 512 - saved[:, past + 5 :]
    after = predict_autoregressively(batch, pipeline=pipeline, horizon=HORIZON).predicted
    batch.actions.copy_(saved)
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    assert np.isfinite(after.numpy()).all()
