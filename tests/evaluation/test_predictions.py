import torch

from rlvr_world_hf.evaluation.predictions import (
    Sampling,
    predict_checkpoint,
    predict_copy_last,
    predict_tokenizer_floor,
    row_batches,
    row_seed,
)
from tests.tiny import tiny_model, tiny_processor, tiny_rows


PROCESSOR = tiny_processor()
ROWS = tiny_rows()


def predictions_of(model, *, size, **settings):
    batches = row_batches(ROWS, size=size)
    made = [predict_checkpoint(batch, model=model, processor=PROCESSOR, **settings) for batch in batches]
    return torch.cat([predictions.predicted for predictions in made])


def test_batches_hold_all_rows_in_order():
    batches = list(row_batches(ROWS, size=3))
    assert [index for batch in batches for index in batch.indices] == list(range(len(ROWS)))
    assert batches[0].context.shape == (3, 1, 3, 16, 16)
    assert batches[0].reference.min() >= 0 and 0.5 < batches[0].reference.max() <= 1
    masks = torch.cat([batch.reference_mask for batch in batches])
    assert masks.sum(dim=1).tolist() == [3, 3, 2, 1] * 2


def test_copy_last_repeats_the_last_given_frame():
    batch = next(row_batches(ROWS, size=2))
    predicted = predict_copy_last(batch).predicted
    assert predicted.shape == (2, 1, 3, 3, 16, 16)
    assert all(torch.equal(predicted[:, 0, step], batch.context[:, -1]) for step in range(3))


def test_tokenizer_floor_is_the_decode_of_the_true_codes():
    batch = next(row_batches(ROWS, size=2))
    codes = PROCESSOR.codec.encode(batch.reference, context_frames=batch.context)
    expected = PROCESSOR.codec.decode(codes, context_frames=batch.context)
    torch.testing.assert_close(predict_tokenizer_floor(batch, processor=PROCESSOR).predicted[:, 0], expected)


def test_noise_belongs_to_seed_row_and_sample():
    model = tiny_model(PROCESSOR)
    together = predictions_of(model, size=8, sampling_seeds=(0, 1), num_samples=2)
    assert together.shape == (8, 4, 3, 3, 16, 16)
    torch.testing.assert_close(predictions_of(model, size=3, sampling_seeds=(0, 1), num_samples=2), together)
    torch.testing.assert_close(predictions_of(model, size=8, sampling_seeds=(1,), num_samples=2), together[:, 2:])
    torch.testing.assert_close(predictions_of(model, size=8, sampling_seeds=(0,)), together[:, :1])
    assert not torch.equal(together[:, 0], together[:, 1])


def test_greedy_predicts_once_for_all_seeds():
    greedy = Sampling(temperature=0.0)
    predicted = predictions_of(tiny_model(PROCESSOR), size=8, sampling_seeds=(0, 1), num_samples=2, sampling=greedy)
    assert predicted.shape[:2] == (8, 1)


def test_unreadable_completions_are_marked():
    class Unreadable:
        def __getattr__(self, name):
            return getattr(PROCESSOR, name)

        def decode_state(self, completion_ids, context):
            states = list(PROCESSOR.decode_state(completion_ids, context))
            return [None, *states[1:]]

    batch = next(row_batches(ROWS, size=2))
    predictions = predict_tokenizer_floor(batch, processor=Unreadable())
    assert predictions.readable.tolist() == [[False], [True]]
    assert predictions.predicted[0].eq(0).all()


def test_row_seeds_differ():
    assert len({row_seed(seed, row) for seed in range(10) for row in range(100)}) == 1000
