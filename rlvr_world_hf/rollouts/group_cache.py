"""
What sampling keeps: keys and values of prompts once, and of what has been read of their completions.

Buffers have the completions' full length from the start and stay where they are, and places are tensors. So a step is
the same computation for every token: it can be compiled as one graph, and captured as a CUDA graph. Only the part of
the buffers that is read grows, by some tokens at a time; what is not written yet is hidden.
"""

import torch
from einops import rearrange

from .shared_attention import SeenKeys, attend_shared
from .shared_prompt import Attention, attend_prompts


ROOM = {"cpu": 8, "accelerator": 64}
"""Attention reads a multiple of so many tokens of completions: of more, more are hidden; of fewer, graphs are more."""


class GroupCache:
    """
    Keys and values of prompts, and of the tokens read so far of `G` completions of each.

    Args:
        group_size (`int`):
            Completions a prompt, `G`.
        length (`int`):
            Maximum number of a completion's tokens that the model reads.
        prompt_mask (`torch.Tensor` of shape `(B, P)`, bool, *optional*):
            False where a prompt is padding, on its left.

    Example:
        >>> cache = GroupCache(group_size=2, length=4)
        >>> prompt, next_token = torch.randn(3, 1, 5, 8), torch.randn(6, 1, 1, 8)
        >>> cache.attend(0, prompt, prompt, prompt, scale=1.0).shape
        torch.Size([3, 1, 5, 8])
        >>> cache.advance(torch.tensor([0]), stop=1)
        >>> cache.attend(0, next_token, next_token, next_token, scale=1.0).shape
        torch.Size([6, 1, 1, 8])
    """

    def __init__(self, *, group_size: int, length: int, prompt_mask: torch.Tensor | None = None) -> None:
        self.group_size = group_size
        self.length = length
        self.prompt_mask = prompt_mask
        self.prompts: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.completions: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.places: torch.Tensor | None = None
        self.stop = self.room = 0
        self._seen: dict[int | None, SeenKeys] = {}

    def advance(self, places: torch.Tensor, *, stop: int) -> None:
        """
        Say which tokens of the completions are read next.

        Args:
            places (`torch.Tensor` of shape `(T,)`, int64):
                Their places in the completion.
            stop (`int`):
                One past the highest of the places.

        Raises:
            ValueError: if they are beyond the length.
        """
        if stop > self.length:
            raise ValueError(
                f"Expected at most {self.length} tokens of a completion, got {stop}; give a longer length."
            )
        size = ROOM["cpu" if places.device.type == "cpu" else "accelerator"]
        self.stop, self.room = stop, min(self.length, -(-stop // size) * size)
        self.read_at(places)

    def read_at(self, places: torch.Tensor) -> None:
        """
        Say where the next tokens are read, within the part of the buffers that [`advance`] was told of last.

        Args:
            places (`torch.Tensor` of shape `(T,)`, int64):
                Their places in the completion.
        """
        self.places, self._seen = places, {}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float,
        attention: Attention = attend_shared,
        window: int | None = None,
        cap: float | None = None,
    ) -> torch.Tensor:
        """
        Attention of the prompts, before the first [`advance`], and of the completions' next tokens after each.

        Args:
            layer (`int`):
                Which layer's keys and values these are.
            query (`torch.Tensor` of shape `(B, H, P, D)`, then `(B * G, H, T, D)`):
                Queries.
            key (`torch.Tensor` of shape `(B, K, P, D)`, then `(B * G, K, T, D)`):
                Keys.
            value (`torch.Tensor` of shape `(B, K, P, D)`, then `(B * G, K, T, D)`):
                Values.
            scale (`float`):
                Multiplies the scores.
            attention (`Callable`, *optional*, defaults to [`attend_shared`]):
                Attention of completions to prompt and themselves.
            window (`int`, *optional*):
                Tokens that a query sees, itself included; all before it by default.
            cap (`float`, *optional*):
                Bound of the scores; none by default.

        Returns:
            `torch.Tensor` of the shape of `query`.
        """
        if self.places is None:
            out = attend_prompts(query, key, value, scale=scale, mask=self.prompt_mask, window=window, cap=cap)
            last = slice(None) if window is None else slice(max(0, key.shape[2] - window + 1), None)
            self.prompts[layer] = key[:, :, last].contiguous(), value[:, :, last].contiguous()
            shape = (len(key) * self.group_size, key.shape[1], self.length, key.shape[3])
            self.completions[layer] = key.new_zeros(shape), value.new_zeros(shape)
            return out
        (prompt_key, prompt_value), (keys, values) = self.prompts[layer], self.completions[layer]
        if key.device.type == "cpu" and not torch.compiler.is_compiling():  # a fourth of the time
            written = slice(self.stop - len(self.places), self.stop)
            keys[:, :, written], values[:, :, written] = key, value
        else:
            keys.index_copy_(2, self.places, key.to(keys.dtype))
            values.index_copy_(2, self.places, value.to(values.dtype))
        if window not in self._seen:  # once for all layers of a kind
            mask = (
                None
                if self.prompt_mask is None
                else self.prompt_mask[:, self.prompt_mask.shape[1] - prompt_key.shape[2] :]
            )
            self._seen[window] = SeenKeys.of(
                self.places,
                keys=self.room,
                prompt_length=prompt_key.shape[2],
                like=query,
                prompt_mask=mask,
                window=window,
            )
        own = keys[:, :, : self.room], values[:, :, : self.room]
        return attention(query, prompt_key, prompt_value, *own, scale=scale, seen=self._seen[window], cap=cap)

    def keep(self, prompts: torch.Tensor) -> None:
        """
        Keep some prompts and their completions, and drop the others.

        Args:
            prompts (`torch.Tensor` of shape `(B',)`, int64):
                Indices of the prompts to keep.
        """
        rows = rows_of(prompts, self.group_size)
        self.prompt_mask = None if self.prompt_mask is None else self.prompt_mask[prompts]
        self.prompts = {layer: (key[prompts], value[prompts]) for layer, (key, value) in self.prompts.items()}
        self.completions = {layer: (key[rows], value[rows]) for layer, (key, value) in self.completions.items()}
        self._seen = {}


def rows_of(prompts: torch.Tensor, group_size: int) -> torch.Tensor:
    """
    Places of the completions of some prompts.

    Args:
        prompts (`torch.Tensor` of shape `(B',)`, int64): indices of the prompts.
        group_size (`int`): completions of each, `G`.

    Returns:
        `torch.Tensor` of shape `(B' * G,)`, int64.

    Example:
        >>> rows_of(torch.tensor([0, 2]), 2).tolist()
        [0, 1, 4, 5]
    """
    group = torch.arange(group_size, device=prompts.device)
    return rearrange(prompts[:, None] * group_size + group, "b g -> (b g)")
