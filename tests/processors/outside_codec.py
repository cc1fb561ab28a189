"""A codec of someone else's: saved with its own code, and loaded only where that is trusted."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config


class OutsideCodec(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, context_frames: int = 1, image_size: tuple[int, int] = (4, 4)) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(3))
        self.context_codebook_size = self.dynamics_codebook_size = 4
        self.context_grid, self.dynamics_grid = (2, 2), (1, 1)


OutsideCodec.register_for_auto_class("AutoModel")
