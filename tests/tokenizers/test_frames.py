"""What both tokenizers do around their networks; what it is for is tested with them."""

import torch

from rlvr_world_hf.tokenizers import FrameTokenizer
from rlvr_world_hf.tokenizers.frames import PIXELS_A_PIECE


def test_patches_are_folded_into_channels_and_back() -> None:
    tokenizer = FrameTokenizer(image_size=(8, 16), block_out_channels=(4, 4), norm_num_groups=4)
    frames = torch.rand(2, 3, 3, 8, 16)
    folded = tokenizer._fold(frames)
    assert folded.shape == (6, 48, 2, 4)
    assert folded[0, :16, 1, 2].tolist() == frames[0, 0, 0, 4:, 8:12].flatten().tolist()
    assert torch.equal(tokenizer._unfold(folded, 2), frames)


def test_a_piece_holds_at_least_one_item() -> None:
    tokenizer = FrameTokenizer(image_size=(8, 16), block_out_channels=(4, 4), norm_num_groups=4)
    assert tokenizer._items_a_piece(2) == PIXELS_A_PIECE["cpu"] // 256
    assert tokenizer._items_a_piece(10**6) == 1
