import pytest

from rlvr_world_hf.evaluation.draws import BestSampling, Draws
from rlvr_world_hf.evaluation.predictions import Sampling


def test_predictions_of_a_row_are_those_of_all_seeds():
    assert Draws(sampling=Sampling()).count == 3
    assert Draws(sampling=Sampling(), seeds=(4, 5), num_samples=3).count == 6


@pytest.mark.parametrize("wrong", [{"num_samples": -2}, {"num_samples": 0}, {"seeds": ()}, {"seeds": (0, -1)}])
def test_what_cannot_be_drawn_is_refused(wrong):
    with pytest.raises(ValueError, match="num_samples"):
        Draws(sampling=Sampling(), **wrong)


def test_what_worlds_differ_in_has_no_default():
    with pytest.raises(TypeError, match="sampling"):
        Draws()
    with pytest.raises(TypeError, match="checkpoints"):
        BestSampling(rows=[])
