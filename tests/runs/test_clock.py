from rlvr_world_hf.runs.clock import Clock


def test_seconds_go_on_from_an_interrupted_run():
    clock = Clock()
    assert 0 <= clock.seconds < 5
    clock.continue_from(100.0)
    assert 100 <= clock.seconds < 105
