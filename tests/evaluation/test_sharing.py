from rlvr_world_hf.evaluation.sharing import ALONE, Share


def shares(count, given):
    """Shares of processes that have already given something."""
    return [Share(process=process, processes=count, exchange=lambda own: given) for process in range(count)]


def test_every_batch_is_computed_once_and_all_come_back_in_order():
    for count in (1, 2, 3, 5):
        batches = [*"abcd"]
        parts = [batches[share.part] for share in shares(count, None)]
        assert sorted(batch for part in parts for batch in part) == batches
        for share, part in zip(shares(count, parts), parts, strict=True):
            assert share.join(part) == batches


def test_lists_are_filled_from_the_process_that_has_them():
    given = [[["a"], [], ["c"]], [[], ["b"], []]]
    assert [share.fill(part) for share, part in zip(shares(2, given), given, strict=True)] == [
        [["a"], ["b"], ["c"]]
    ] * 2


def test_a_process_alone_keeps_what_it_has():
    assert ALONE.join([1, 2]) == [1, 2] and ALONE.fill([["a"], ["b"]]) == [["a"], ["b"]]
    assert ALONE.is_first and not shares(2, None)[1].is_first
