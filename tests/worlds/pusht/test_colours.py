import pytest
import torch

from rlvr_world_hf.worlds.pusht.colours import colour_share


COLOUR, OTHERS = (65, 105, 225), ((255, 255, 255), (119, 136, 153), (144, 238, 144))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("other", OTHERS)
def test_of_a_mixture_the_share_is_found(share: float, other: tuple[int, int, int]) -> None:
    pixel = (share * torch.tensor(COLOUR) + (1 - share) * torch.tensor(other)) / 255
    assert colour_share(pixel[:, None, None], COLOUR, OTHERS).item() == pytest.approx(share, abs=1e-5)


def test_other_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="RGB"):
        colour_share(torch.zeros(2, 4, 4), COLOUR, OTHERS)
    with pytest.raises(TypeError, match="divide uint8"):
        colour_share(torch.zeros(3, 4, 4, dtype=torch.uint8), COLOUR, OTHERS)
