from typing import Any

import numpy as np
import pytest

from rlvr_world_hf.playground.values import SHORT, is_unicode, read_number, read_text, read_whole


NO_NUMBERS = [None, "1", True, [], [1], {}, float("nan"), float("inf"), float("-inf"), 10**400, -(10**400), 1j]


@pytest.mark.parametrize("value", [1, 4, 4.0, np.int64(2), np.float32(3)])
def test_whole_numbers_are_read_as_int(value: Any) -> None:
    read = read_whole("samples", value, least=1, most=4)
    assert type(read) is int and read == value


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, 5, 1.5, -1, 1e-300], ids=repr)
def test_what_is_no_whole_number_in_range_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="Expected the samples to be a whole number from 1 to 4, got .*; give one"):
        read_whole("samples", value, least=1, most=4)


@pytest.mark.parametrize("value", [0, 2, 1.5, 1e-300, np.float64(0.5)])
def test_numbers_are_read_as_float(value: Any) -> None:
    read = read_number("temperature", value, least=0, most=2)
    assert type(read) is float and read == value


@pytest.mark.parametrize("value", [*NO_NUMBERS, -0.1, 2.1], ids=repr)
def test_what_is_no_number_in_range_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="Expected the temperature to be a number from 0 to 2, got .*; give one"):
        read_number("temperature", value, least=0, most=2)


@pytest.mark.parametrize("value", [None, 1, ["look"], "", "  ", "x" * 9, "\ud800"], ids=repr)
def test_what_is_no_text_is_refused(value: Any) -> None:
    assert read_text("action", " look ", most=8) == "look"
    with pytest.raises(ValueError, match="Expected the action to be a text of 1 to 8 characters, got .*; type one"):
        read_text("action", value, most=8)


def test_values_are_shown_short_however_long_they_are() -> None:
    for value in (10**4000, "x" * 10**6, [[list(range(10**5))]] * 10**5, {str(at): at for at in range(10**4)}):
        assert len(SHORT.repr(value)) < 300
    assert is_unicode("grün 😀") and not is_unicode("\udfff")
