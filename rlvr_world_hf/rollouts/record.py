"""The record of a rollout: a group of predictions of each prompt."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """
    `G` predictions of each of `B` prompts; those of one prompt stand together.

    Example:
        >>> record = Rollout(
        ...     prompt_ids=torch.zeros(2, 5), completion_ids=torch.zeros(6, 4), model_token_mask=torch.ones(4).bool()
        ... )
        >>> record.group_size
        3
    """

    prompt_ids: torch.Tensor
    """`(B, Lp)`, int64: each prompt once."""
    completion_ids: torch.Tensor
    """`(B * G, Lc)`, int64: tokens of model and world."""
    model_token_mask: torch.Tensor
    """`(Lc,)`, bool: True where the model wrote the token, False where the world did."""
    logprobs: torch.Tensor | None = None
    """`(B * G, Lc)`, float32: log-probability of each sampled token at the sampling temperature, among the ids valid
    at its position and before top-k and top-p; 0 where the world wrote. `None` if not asked for."""
    predicted: torch.Tensor | Mapping[str, torch.Tensor] | None = None
    """The decoded states as the processor returns them: in a video world `(B * G, S, 3, H, W)`, float32 in `[0, 1]`;
    in a world of sensors `(B * G, S, P)`; with both, a mapping. `None` if not asked for."""

    @property
    def group_size(self) -> int:
        """Predictions a prompt, `G`."""
        return len(self.completion_ids) // len(self.prompt_ids)
