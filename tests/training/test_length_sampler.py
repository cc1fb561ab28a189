from rlvr_world_hf.training.length_sampler import LengthSampler


LENGTHS = [(7 * row) % 23 for row in range(50)]


def updates(sampler: LengthSampler) -> list[list[int]]:
    order = list(sampler)
    return [order[start : start + sampler.update_size] for start in range(0, len(order), sampler.update_size)]


def test_each_row_comes_once_and_an_update_goes_from_long_to_short() -> None:
    sampler = LengthSampler(LENGTHS, update_size=8, seed=3)
    found = updates(sampler)
    assert sorted(row for update in found for row in update) == list(range(50)) and len(sampler) == 50
    assert all(LENGTHS[one] >= LENGTHS[other] for rows in found for one, other in zip(rows, rows[1:], strict=False))


def test_an_update_is_a_random_draw() -> None:
    means = [
        sum(LENGTHS[row] for row in rows) / len(rows)
        for rows in updates(LengthSampler(LENGTHS, update_size=10, seed=0))
    ]
    assert max(means) - min(means) < 8, "sorted as a whole, the means of updates would be 18 apart"


def test_epochs_differ_and_a_resumed_one_is_the_same() -> None:
    sampler, resumed = (LengthSampler(LENGTHS, update_size=8, seed=3) for _ in range(2))
    first = list(sampler)
    sampler.set_epoch(1)
    resumed.set_epoch(1)
    assert list(sampler) == list(resumed) != first
