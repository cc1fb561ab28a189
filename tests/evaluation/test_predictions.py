import pytest
import torch

from rlvr_world_hf.evaluation.predictions import (
    Predictions,
    Sampling,
    first_without_repetition,
    predict_checkpoint,
    predict_copy_last,
    predict_tokenizer_floor,
    repetition_of,
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


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": t} for t in (float("nan"), float("inf"), 1e-300, -1.0)]
    + [{"top_k": -1}, {"top_p": 0.0}, {"top_p": float("nan")}],
)
def test_settings_from_which_nothing_can_be_drawn_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_batches_hold_all_rows_in_order():
    batches = list(row_batches(ROWS, size=3))
    assert [index for batch in batches for index in batch.indices] == list(range(len(ROWS)))
    assert batches[0].context.shape == (3, 1, 3, 16, 16)
    assert batches[0].reference.min() >= 0 and 0.5 < batches[0].reference.max() <= 1
    masks = torch.cat([batch.reference_mask for batch in batches])
    assert masks.sum(dim=1).tolist() == [3, 3, 2, 1] * 2


def test_batches_say_where_their_rows_are_from_if_the_rows_do():
    rows = tiny_rows(episodes=3, length=4, horizon=2)
    batches = list(row_batches(rows, size=4))
    assert [place for batch in batches for place in batch.places] == [(row["episode"], row["start"]) for row in rows]
    part = batches[0].take(torch.tensor([3, 1]))
    assert part.places == [batches[0].places[3], batches[0].places[1]] and part.indices == [3, 1]
    unplaced = [{name: row[name] for name in row if name != "episode"} for row in rows]
    (batch,) = row_batches(unplaced, size=len(rows))
    assert batch.places is None and batch.take(torch.tensor([0])).places is None


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


def film(*levels):
    """A prediction of three flat frames."""
    return torch.tensor(levels).view(3, 1, 1, 1).expand(3, 3, 16, 16)


def drawn(*of_rows, readable=None):
    """Predictions of rows, each a list of its films."""
    predicted = torch.stack([torch.stack(films) for films in of_rows])
    readable = torch.ones(predicted.shape[:2], dtype=torch.bool) if readable is None else torch.tensor(readable)
    return Predictions(predicted=predicted, readable=readable)


MOVING, OTHER, HALTING, STILL = film(0.0, 0.1, 0.2), film(0.9, 0.8, 0.7), film(0.0, 0.1, 0.1), film(0.3, 0.3, 0.3)


@pytest.mark.parametrize(
    ("draws", "kept"),
    [
        ([MOVING, OTHER], MOVING),  # the first will do
        ([STILL, HALTING, MOVING, OTHER], MOVING),  # the first without
        ([STILL, film(0.5, 0.5, 0.6), HALTING], film(0.5, 0.5, 0.6)),  # none: the first with the fewest
        ([STILL, film(0.2, 0.2, 0.2)], STILL),
    ],
)
def test_the_first_draw_without_repetition_is_kept_else_that_with_the_least(draws, kept):
    batch = next(row_batches(ROWS, size=1))
    chosen = first_without_repetition(batch, lambda rows, number: drawn([draws[number]]), draws=len(draws))
    assert torch.equal(chosen.predicted[0, 0], kept)


def test_rows_are_drawn_again_alone_and_good_predictions_stay():
    batch = next(row_batches(ROWS.select([0, 1, 4]), size=3))
    draws = {
        (0, (0, 1, 2)): drawn([MOVING, OTHER], [STILL, MOVING], [HALTING, MOVING]),
        (1, (1, 2)): drawn([HALTING, OTHER], [OTHER, OTHER]),
        (2, (1,)): drawn([OTHER, STILL]),
    }
    chosen = first_without_repetition(batch, lambda rows, number: draws[number, tuple(rows.indices)], draws=9)
    wanted = drawn([MOVING, OTHER], [OTHER, MOVING], [OTHER, MOVING])
    assert torch.equal(chosen.predicted, wanted.predicted)


def test_padding_is_no_repetition_and_an_unreadable_draw_is_one():
    last = next(row_batches(ROWS.select([2, 3]), size=2))  # two recorded steps, and one
    both = drawn([HALTING], [STILL])
    assert repetition_of(both, last).nan_to_num(-1).tolist() == [[0.0], [-1.0]]
    assert first_without_repetition(last, lambda rows, number: both, draws=1) is both
    unreadable, readable = drawn([torch.zeros_like(STILL)], readable=[[False]]), drawn([HALTING])
    first = next(row_batches(ROWS, size=1))
    chosen = first_without_repetition(first, lambda rows, number: [unreadable, readable][number], draws=2)
    assert chosen.readable.all() and torch.equal(chosen.predicted, readable.predicted)


def test_rejection_takes_from_what_more_samples_would_be():
    model = tiny_model(PROCESSOR)
    with torch.no_grad():
        model.get_input_embeddings().weight[:] = 1.0  # the same two codes are likeliest everywhere: frames repeat
    settings = {"size": 8, "sampling_seeds": (0, 1), "num_samples": 2, "sampling": Sampling(top_k=2)}
    off = predictions_of(model, **settings | {"num_samples": 6})
    settings["sampling"] = Sampling(top_k=2, reject_repetition=3)
    kept = predictions_of(model, **settings)
    torch.testing.assert_close(predictions_of(model, **settings | {"size": 3}), kept)
    batch = next(row_batches(ROWS, size=8))
    readable = torch.ones(8, 12, dtype=torch.bool)
    rates = repetition_of(Predictions(predicted=off, readable=readable), batch).nan_to_num(0)  # (8, 12)
    assert 0.05 < (rates > 0).float().mean() < 0.95
    for row in range(8):
        for seed in range(2):
            for sample in range(2):
                tries = [6 * seed + 2 * number + sample for number in range(3)]
                expected = min(tries, key=lambda place: (rates[row, place], place))
                torch.testing.assert_close(kept[row, 2 * seed + sample], off[row, expected])


@pytest.mark.parametrize(("draws", "temperature"), [(-1, 1.0), (4, 0.0)])
def test_rejection_that_cannot_be_is_refused(draws, temperature):
    with pytest.raises(ValueError, match="`reject_repetition`"):
        Sampling(reject_repetition=draws, temperature=temperature)


def test_only_a_rejection_that_is_on_is_recorded():
    assert "reject_repetition" not in Sampling().to_dict()
    assert Sampling(reject_repetition=4).to_dict()["reject_repetition"] == 4
