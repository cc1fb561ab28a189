import numpy as np
import pytest

from rlvr_world_hf.playground.drawing import enlarge, heat_map


def test_pixels_are_repeated_and_not_smoothed() -> None:
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = enlarge(frame, 6)
    assert large.shape == (6, 6, 3) and large.dtype == np.uint8
    assert (large[:3, 3:] == frame[0, 1]).all() and (large[3:, :3] == frame[1, 0]).all()
    with pytest.raises(ValueError, match="multiple of 2 and 2, got 5"):
        enlarge(frame, 5)


def test_heat_is_the_mean_error_of_colours_and_samples() -> None:
    truth = np.zeros((2, 4, 4, 3), np.uint8)
    predicted = np.zeros((2, 2, 4, 4, 3), np.uint8)
    predicted[0, 1, 2, 2] = 255  # one sample of two, at the second step: an error of a half, which is the last colour
    heat = heat_map(predicted, truth)
    assert heat.shape == truth.shape and (heat[0] == 255).all()
    assert heat[1, 2, 2].tolist() == [150, 15, 60] and (heat[1, 0] == 255).all()
