import torch
from torch import nn

from rlvr_world_hf.tokenizers.convolutions import Decoder, Encoder


class AddContext(nn.Module):
    def forward(self, hidden: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return hidden + context


def test_the_encoder_halves_and_the_decoder_doubles_where_it_is_told() -> None:
    encoder = Encoder([4, 8, 12], 1, 3, 5, 4, attention=False)
    latent, stages, resolutions = encoder(torch.rand(2, 3, 16, 24))
    assert latent.shape == (2, 5, 4, 6)
    assert [tuple(stage.shape[1:]) for stage in stages] == [(4, 16, 24), (4, 8, 12), (8, 4, 6), (12, 4, 6)]
    assert [tuple(hidden.shape[1:]) for hidden in resolutions] == [(4, 16, 24), (8, 8, 12), (12, 4, 6), (12, 4, 6)]

    for doubled, heights in (([True, True, False], [8, 16, 16]), ([False, True, True], [4, 8, 16])):
        decoder = Decoder([12, 12, 8, 4], doubled, 1, 5, 3, 4, attention=False)
        frames, stages = decoder(latent)
        assert frames.shape == (2, 3, 16, 24)
        assert [tuple(stage.shape[1:3]) for stage in stages] == [(12, 4), *zip([12, 8, 4], heights, strict=True)]


def test_a_stage_is_conditioned_where_there_is_a_module_and_a_context() -> None:
    encoder = Encoder([4, 4], 1, 3, 5, 4, attention=True)
    encoder.conditioning[1] = AddContext()
    frames = torch.rand(1, 3, 8, 8)
    _, plain, _ = encoder(frames)
    _, conditioned, _ = encoder(frames, [torch.ones_like(stage) for stage in plain])
    torch.testing.assert_close(conditioned[0], plain[0])
    torch.testing.assert_close(conditioned[1], plain[1] + 1)
