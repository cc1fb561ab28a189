"""
Decoding token by token: a model reads the prompts once, then the next tokens of all completions, and returns logits.

A prompt's keys and values are kept once if the model can share them, else once per completion. Only this file knows
which of the two.
"""

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .shared_prompt import GroupCache, no_mask, plain_model, share_prompts


Range = tuple[int, int]


class GroupDecoder:
    """
    Reads `B` prompts, then `G` completions of each; after each read, returns the logits of the next token.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            A causal language model, in evaluation mode. If it can share prompts, it is changed to do so, see
            [`~rlvr_world_hf.rollouts.shared_prompt.share_prompts`].
        group_size (`int`):
            Completions a prompt, `G`.
        length (`int`):
            Maximum number of tokens of a completion.
        prompt_mask (`torch.Tensor` of shape `(B, P)`, int or bool):
            0 where a prompt is padding, on its left.

    Raises:
        ValueError: if prompt and completion are longer than the model's window.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> model = LlamaForCausalLM(LlamaConfig(
        ...     vocab_size=10, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        ... )).eval()
        >>> prompts = torch.tensor([[1, 2], [3, 4]])
        >>> decoder = GroupDecoder(model, group_size=2, length=3, prompt_mask=torch.ones_like(prompts))
        >>> decoder.read(prompts, ids=(0, 10)).shape
        torch.Size([4, 10])
        >>> decoder.read(torch.tensor([[5], [6], [7], [8]]), ids=(2, 5)).shape
        torch.Size([4, 3])
    """

    def __init__(self, model: PreTrainedModel, *, group_size: int, length: int, prompt_mask: torch.Tensor) -> None:
        window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if window is not None and prompt_mask.shape[1] + length > window:
            raise ValueError(
                f"Expected prompt and completion within the model's window of {window} tokens, got "
                f"{prompt_mask.shape[1]} + {length}; shorten the prompt or the horizon, or train a model with a "
                "larger `max_position_embeddings`."
            )
        self.model = model
        self.group_size = group_size
        self.mask = prompt_mask.bool()
        self.position = self.mask.sum(dim=1).repeat_interleave(group_size)  # of each completion's next token
        self.cache: GroupCache | None = None
        if share_prompts(model) is None:  # there is no reason why it cannot
            padded = None if bool(self.mask.all()) else self.mask
            self.cache = GroupCache(group_size=group_size, length=length, prompt_mask=padded)
        self.repeated: Any = None  # the model's own cache, if it cannot share
        self.cache_keyword = _cache_keyword(model)
        self.has_read_prompts = False

    @torch.no_grad()
    def read(self, tokens: torch.Tensor, *, ids: Range | None = None) -> torch.Tensor:
        """
        Read the prompts, at the first call, or the next tokens of all completions.

        Args:
            tokens (`torch.Tensor` of shape `(B, P)`, then `(B * G, T)`, int):
                Tokens to read.
            ids (`tuple[int, int]`, *optional*):
                Lowest valid id of the next token, and one past the highest; all by default.

        Returns:
            `torch.Tensor` of shape `(B * G, V)`: the next token's logits for these ids.
        """
        if self.has_read_prompts:
            positions = self.position[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
            self.position = self.position + tokens.shape[1]
            return self._logits(tokens, positions, ids)
        self.has_read_prompts = True
        logits = self._logits(tokens, (self.mask.long().cumsum(dim=1) - 1).clamp(min=0), ids)
        if self.cache is None:
            self.repeated.batch_repeat_interleave(self.group_size)
            self.mask = self.mask.repeat_interleave(self.group_size, dim=0)
        return logits.repeat_interleave(self.group_size, dim=0)

    def keep(self, prompts: torch.Tensor) -> None:
        """
        Keep some prompts and their completions, and drop the others.

        Args:
            prompts (`torch.Tensor` of shape `(B',)`, int64):
                Indices of the prompts to keep.
        """
        group = torch.arange(self.group_size, device=prompts.device)
        rows = (prompts[:, None] * self.group_size + group).flatten()
        self.position = self.position[rows]
        if self.cache is None:
            self.repeated.batch_select_indices(rows)
            self.mask = self.mask[rows]
        else:
            self.cache.keep(prompts)

    def _logits(self, tokens: torch.Tensor, positions: torch.Tensor, ids: Range | None) -> torch.Tensor:
        inputs: dict[str, Any] = {"input_ids": tokens, "position_ids": positions}
        if self.cache is None:
            if self.repeated is not None:
                self.mask = torch.cat([self.mask, self.mask.new_ones(tokens.shape)], dim=1)
            inputs |= {"attention_mask": self.mask.long(), self.cache_keyword: self.repeated}
            output = self.model(**inputs, use_cache=True, logits_to_keep=1)
            self.repeated = getattr(output, self.cache_keyword)
            return output.logits[:, -1, slice(*ids or (None,))]
        inputs |= {"attention_mask": no_mask(tokens), "shared_prompt": self.cache, "use_cache": False}
        plain = plain_model(self.model)
        head = plain.get_output_embeddings()
        if ids is None or not _can_be_cut(plain, head):
            return self.model(**inputs, logits_to_keep=1).logits[:, -1, slice(*ids or (None,))]
        # Only the valid ids' rows of the head are used: the other logits would be computed for nothing.
        states = plain.base_model(**inputs).last_hidden_state[:, -1]
        bias = None if head.bias is None else head.bias[slice(*ids)]
        return nn.functional.linear(states, head.weight[slice(*ids)], bias)


def prompts_at_once(model: PreTrainedModel, *, group_size: int, prompt_length: int, length: int) -> int:
    """
    How many prompts to sample from together, so that their keys and values fill at most half of the free memory.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            A causal language model.
        group_size (`int`):
            Completions of a prompt.
        prompt_length (`int`):
            Tokens of a prompt.
        length (`int`):
            Tokens of a completion.

    Returns:
        `int`: at least 1.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> model = LlamaForCausalLM(LlamaConfig(
        ...     vocab_size=10, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        ... ))
        >>> prompts_at_once(model, group_size=2, prompt_length=4, length=4) > 1000
        True
    """
    config = model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    tokens = prompt_length + group_size * length
    if share_prompts(model) is not None:  # each completion has a copy of its prompt
        tokens = group_size * (prompt_length + length)
    bytes_of_prompt = 2 * config.num_hidden_layers * heads * width * tokens * model.dtype.itemsize
    return max(1, _free_memory(model.device) // 2 // bytes_of_prompt)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """
    Context in which the model is in evaluation mode; afterwards it is in its previous mode.

    Args:
        model (`torch.nn.Module`):
            The model.
    """
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # some systems do not say: assume 8 GiB
        return 8 << 30


def _cache_keyword(model: PreTrainedModel) -> str:
    """Name of the cache in a model's arguments and output: `cache` from transformers 5.24 on."""
    parameters = inspect.signature(plain_model(model).forward).parameters
    return "cache" if "cache" in parameters else "past_key_values"


def _can_be_cut(model: PreTrainedModel, head: nn.Module) -> bool:
    """Whether a range of logits follows from that range of the head's rows alone, with nothing applied afterwards."""
    config = model.config.get_text_config()
    scaled = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
    # Exact types: subclasses, such as adapters and quantized weights, compute something else.
    is_plain = type(head) is nn.Linear and type(head.weight) in (nn.Parameter, torch.Tensor)
    return is_plain and all(getattr(config, name, None) is None for name in scaled)
