"""A video world in tokens: frames by a visual tokenizer, actions by uniform bins, positions by a `TokenLayout`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from einops import repeat
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import BatchFeature, PreTrainedTokenizerFast

from .base import Codec, WorldModelProcessor
from .bins import UniformBins
from .layout import TokenLayout


Array = torch.Tensor | np.ndarray
CODEC_FIELDS = ("context_codebook_size", "dynamics_codebook_size", "context_grid", "dynamics_grid")


class VideoWorldModelProcessor(WorldModelProcessor):
    r"""
    Writes context frames, observed steps and actions as a prompt, and reads predicted frames back from a completion.

    Follows the multi-step prediction of RLVR-World ([paper](https://huggingface.co/papers/2505.13934), section 5.1).
    Where the authors clamp an invalid id to the last code, `decode_state` raises: position-aware sampling writes none.

    Frames everywhere are `(B, T, 3, H, W)` RGB, uint8 or float in `[0, 1]`, torch or numpy. Actions are `(B, T, A)` in
    the unit of their ranges; `actions[:, j]` is taken at the `j`-th frame counted from the last context frame if there
    are no observed steps, and from the first observed step otherwise. The one taken at the last predicted frame moves
    nothing in the window and may be left out: its tokens repeat the one before.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            One word an id; see [`build_tokenizer`]. What TRL takes as its `processing_class`.
        codec ([`~diffusers.ModelMixin`]):
            The visual tokenizer, set to evaluation mode. It must fit the layout.
        layout ([`TokenLayout`] or `dict`):
            Ids, lengths and masks.
        action_low (`Sequence[float]` of length `A`):
            Lowest value of each action dimension.
        action_high (`Sequence[float]` of length `A`):
            Highest value of each action dimension. Values beyond are put into the outermost bin.
        fps (`float`, *optional*):
            Frames a second of the data the codec and model were trained on; kept for who feeds them.

    Raises:
        ValueError: if codec, tokenizer or action ranges do not fit the layout.

    Example:
        >>> from rlvr_world_hf import CompressiveTokenizer
        >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
        >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [512.0, 512.0], fps=2.0)
        >>> frames, actions = torch.rand(1, 4, 3, 16, 16), torch.full((1, 4, 2), 256.0)
        >>> prompt_ids = processor.encode_prompt(frames[:, :1], actions)
        >>> completion_ids = processor.encode_completion(frames[:, 1:], frames[:, :1], actions)
        >>> prompt_ids.shape, completion_ids.shape
        (torch.Size([1, 6]), torch.Size([1, 18]))
        >>> processor.decode_state(completion_ids, frames[:, :1]).shape
        torch.Size([1, 3, 3, 16, 16])
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        codec: Codec,
        layout: TokenLayout | dict[str, Any],
        action_low: Sequence[float],
        action_high: Sequence[float],
        fps: float | None = None,
    ) -> None:
        self.layout = layout if isinstance(layout, TokenLayout) else TokenLayout.from_dict(layout)
        self.action_low = [float(value) for value in action_low]
        self.action_high = [float(value) for value in action_high]
        self.bins = UniformBins(low=self.action_low, high=self.action_high, bins=self.layout.action_bins)
        self.fps = fps
        self.codec = codec
        _check_fit(self.layout, codec, words=len(tokenizer), action_dims=len(self.action_low))
        codec.eval()
        super().__init__(tokenizer)

    @classmethod
    def from_codec(
        cls,
        codec: Codec,
        action_low: Sequence[float],
        action_high: Sequence[float],
        *,
        action_bins: int = 256,
        observed_steps: int = 0,
        fps: float | None = None,
    ) -> "VideoWorldModelProcessor":
        """
        Builds the layout and the tokenizer that belong to a codec.

        Args:
            codec ([`~diffusers.ModelMixin`]): the visual tokenizer.
            action_low (`Sequence[float]` of length `A`): lowest value of each action dimension.
            action_high (`Sequence[float]` of length `A`): highest value of each action dimension.
            action_bins (`int`, *optional*, defaults to 256): bins of each action dimension, as in the paper.
            observed_steps (`int`, *optional*, defaults to 0): later frames given in the prompt, `M`.
            fps (`float`, *optional*): frames a second of the data.

        Returns:
            [`VideoWorldModelProcessor`]
        """
        layout = TokenLayout(
            **{name: getattr(codec, name) for name in CODEC_FIELDS},
            action_bins=action_bins,
            action_dims=len(action_low),
            context_frames=codec.config.context_frames,
            observed_steps=observed_steps,
        )
        return cls(build_tokenizer(layout), codec, layout, action_low, action_high, fps=fps)

    def __call__(
        self,
        context: Array,
        actions: Array,
        *,
        reference: Array | None = None,
        reference_mask: Array | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """
        Model inputs: a prompt, or a whole sequence with labels if the reference is given.

        Args:
            context (`torch.Tensor` or `np.ndarray` of shape `(B, K + M, 3, H, W)`): context frames and observed steps.
            actions (`torch.Tensor` or `np.ndarray` of shape `(B, T, A)`): actions of the window.
            reference (`torch.Tensor` or `np.ndarray` of shape `(B, S, 3, H, W)`, *optional*): the frames that follow.
            reference_mask (`torch.Tensor` or `np.ndarray` of shape `(B, S)`, bool, *optional*): False for padding.
            kwargs (`dict[str, Any]`, *optional*): none is known; `return_tensors="pt"` is accepted, as it is the case.

        Returns:
            [`~transformers.BatchFeature`]: `input_ids` `(B, L)`, and with a reference `labels` `(B, L)`, int64: -100
            on prompt, actions and padding.
        """
        if kwargs.pop("return_tensors", "pt") != "pt" or kwargs:
            raise TypeError(f"Expected no further arguments than `return_tensors='pt'`, got {sorted(kwargs)}.")
        if reference is None:
            return BatchFeature({"input_ids": self.encode_prompt(context, actions)})
        prompt_ids, completion_ids = self.encode_window(context, reference, actions)
        labels = self.labels(prompt_ids, completion_ids, reference_mask)
        return BatchFeature({"input_ids": torch.cat([prompt_ids, completion_ids], dim=1), "labels": labels})

    @torch.no_grad()
    def encode_prompt(self, context: Array, actions: Array) -> torch.Tensor:
        """
        Token ids of the prompt.

        Args:
            context (`torch.Tensor` or `np.ndarray` of shape `(B, K + M, 3, H, W)`):
                `K` context frames, then `M` observed steps.
            actions (`torch.Tensor` or `np.ndarray` of shape `(B, T, A)`):
                Actions of the window, of which the first `max(M, 1)` are used.

        Returns:
            `torch.Tensor` of shape `(B, prompt_length)`, int64, on the codec's device.

        Raises:
            TypeError: for inputs that are neither arrays nor tensors.
            ValueError: for a wrong rank, shape or range, or NaN.
        """
        context_frames, observed_frames = self._split_context(context)
        action_bins = self._bin_actions(actions, len(context_frames), count=self.layout.prompt_actions)
        context_codes = self.codec.encode_context(context_frames)
        observed_codes = None
        if self.layout.observed_steps:
            observed_codes = self.codec.encode(observed_frames, context_frames=context_frames)
        return self.layout.write_prompt(context_codes, observed_codes, action_bins)

    def encode_completion(self, reference: Array, context: Array, actions: Array) -> torch.Tensor:
        """
        Token ids of the frames that followed: the target of likelihood training.

        Args:
            reference (`torch.Tensor` or `np.ndarray` of shape `(B, S, 3, H, W)`): the recorded frames.
            context (`torch.Tensor` or `np.ndarray` of shape `(B, K + M, 3, H, W)`): as in `encode_prompt`.
            actions (`torch.Tensor` or `np.ndarray` of shape `(B, T, A)`): `max(M, 1) + S` actions, or one fewer.

        Returns:
            `torch.Tensor` of shape `(B, S * step_length)`, int64.

        Raises:
            ValueError: as `encode_prompt`.
        """
        return self.encode_window(context, reference, actions)[1]

    @torch.no_grad()
    def encode_window(self, context: Array, reference: Array, actions: Array) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Token ids of prompt and completion, as `encode_prompt` and `encode_completion` give them, with one pass of the
        codec for all later frames.

        Args:
            context (`torch.Tensor` or `np.ndarray` of shape `(B, K + M, 3, H, W)`): as in `encode_prompt`.
            reference (`torch.Tensor` or `np.ndarray` of shape `(B, S, 3, H, W)`): the recorded frames.
            actions (`torch.Tensor` or `np.ndarray` of shape `(B, T, A)`): `max(M, 1) + S` actions, or one fewer.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: prompt `(B, prompt_length)`, completion `(B, S * step_length)`, int64.

        Raises:
            ValueError: as `encode_prompt`.
        """
        context_frames, observed_frames = self._split_context(context)
        reference = self._read_frames(reference, "reference")
        if len(reference) != len(context_frames):
            raise ValueError(f"Expected a reference for each context, got {len(reference)} and {len(context_frames)}.")
        later = torch.cat([observed_frames, reference], dim=1)
        codes = self.codec.encode(later, context_frames=context_frames)
        observed = self.layout.observed_steps
        prompt_ids = self.layout.write_prompt(
            self.codec.encode_context(context_frames),
            codes[:, :observed] if observed else None,
            self._bin_actions(actions, len(context_frames), count=self.layout.prompt_actions),
        )
        bins = self._bin_completion_actions(actions, reference.shape[1])
        return prompt_ids, self.layout.write_completion(codes[:, observed:], bins)

    def horizon(self, completion_length: int) -> int:
        """Steps of a completion of `completion_length` tokens; see [`TokenLayout`]."""
        return self.layout.horizon(completion_length)

    def model_token_mask(self, horizon: int) -> torch.Tensor:
        """True where the model writes, bool `(S * step_length,)`; see [`TokenLayout`]."""
        return self.layout.model_token_mask(horizon)

    def token_ranges(self, horizon: int) -> torch.Tensor:
        """Valid ids `[low, high)` of each position, int64 `(S * step_length, 2)`; see [`TokenLayout`]."""
        return self.layout.token_ranges(horizon)

    def labels(
        self, prompt_ids: torch.Tensor, completion_ids: torch.Tensor, reference_mask: Array | None = None
    ) -> torch.Tensor:
        """Labels of prompt and completion, int64 `(B, L)`: -100 on prompt, actions, padding; see [`TokenLayout`]."""
        return self.layout.labels(prompt_ids, completion_ids, reference_mask)

    def world_tokens(self, actions: Array, *, horizon: int | None = None) -> torch.Tensor:
        """
        Completion ids that the world writes: the actions.

        Args:
            actions (`torch.Tensor` or `np.ndarray` of shape `(B, T, A)`):
                `max(M, 1) + S` actions, or, where the horizon is given, one fewer or more.
            horizon (`int`, *optional*):
                Steps to predict, `S`; by default all that the actions cover, `T - max(M, 1)`.

        Returns:
            `torch.Tensor` of shape `(B, S * step_length)`, int64; -1 where the model writes.

        Raises:
            ValueError: for a wrong shape, too few actions, or NaN.
        """
        if horizon is None:
            horizon = np.shape(actions)[1] - self.layout.prompt_actions
        mask = self.model_token_mask(horizon).to(self.codec.device)
        bins = self._bin_completion_actions(actions, horizon)
        codes = bins.new_zeros(len(bins), horizon, self.layout.dynamics_length)
        return self.layout.write_completion(codes, bins).masked_fill(mask, -1)

    @torch.no_grad()
    def decode_state(self, completion_ids: torch.Tensor, context: Array) -> torch.Tensor:
        """
        Predicted frames of completions.

        Args:
            completion_ids (`torch.Tensor` of shape `(B, S * step_length)`, int):
                Completions; those of one context stand together.
            context (`torch.Tensor` or `np.ndarray` of shape `(B0, K + M, 3, H, W)`):
                Contexts; `B` is a multiple of `B0`, and each context is encoded once.

        Returns:
            `torch.Tensor` of shape `(B, S, 3, H, W)`, float32 in `[0, 1]`.

        Raises:
            ValueError: for an id that is not valid at its position, or a `B` that is no multiple of `B0`.
        """
        context_frames, _ = self._split_context(context)
        if len(completion_ids) % len(context_frames):
            raise ValueError(
                f"Expected equally many completions of each context, got {len(completion_ids)} completions of "
                f"{len(context_frames)} contexts."
            )
        codes = self.layout.read_dynamics(torch.as_tensor(completion_ids).to(self.codec.device))
        return self.codec.decode(codes, context_frames=context_frames).float()

    def _split_context(self, context: Array) -> tuple[torch.Tensor, torch.Tensor]:
        """Context frames `(B, K, 3, H, W)` and observed steps `(B, M, 3, H, W)`."""
        first, second = self.layout.context_frames, self.layout.observed_steps
        frames = self._read_frames(context, "context")
        if frames.shape[1] != first + second:
            raise ValueError(
                f"Expected {first} context frames and {second} observed steps, got {frames.shape[1]} frames."
            )
        return frames[:, :first].contiguous(), frames[:, first:].contiguous()

    def _read_frames(self, frames: Array, name: str) -> torch.Tensor:
        """Frames as the codec takes them: float32 in `[0, 1]`, contiguous, on its device."""
        frames = _to_tensor(frames, name)
        height, width = self.codec.config.image_size
        if frames.ndim != 5 or tuple(frames.shape[2:]) != (3, height, width):
            raise ValueError(
                f"Expected `{name}` of shape (B, T, 3, {height}, {width}), got {tuple(frames.shape)}; resize the "
                "frames, put channels before height, and add a batch dimension if it is missing."
            )
        frames = frames.to(self.codec.device)
        if frames.dtype == torch.uint8:
            return frames.contiguous() / 255
        if not frames.is_floating_point():
            raise TypeError(f"Expected `{name}` as uint8 or float in [0, 1], got {frames.dtype}.")
        if frames.numel() and not (frames.min() >= 0 and frames.max() <= 1):
            raise ValueError(
                f"Expected `{name}` as uint8 or float in [0, 1], got values from {float(frames.min())} to "
                f"{float(frames.max())}; divide by 255, and drop NaN."
            )
        return frames.float().contiguous()

    def _bin_actions(self, actions: Array, batch: int | None, *, count: int) -> torch.Tensor:
        """Bins `(B, count, A)` of the first `count` actions."""
        actions = _to_tensor(actions, "actions").to(self.codec.device, torch.float32)
        dims = self.layout.action_dims
        if actions.ndim != 3 or actions.shape[2] != dims or actions.shape[1] < count:
            raise ValueError(f"Expected `actions` of shape (B, {count}, {dims}), got {tuple(actions.shape)}.")
        if batch is not None and len(actions) != batch:
            raise ValueError(f"Expected actions for each of {batch} contexts, got {len(actions)}.")
        return self.bins.encode(actions[:, :count])

    def _bin_completion_actions(self, actions: Array, horizon: int) -> torch.Tensor:
        """Bins `(B, S, A)` of the actions after the prompt's; the last one, if left out, repeats the one before."""
        start = self.layout.prompt_actions
        actions = _to_tensor(actions, "actions")
        if actions.ndim == 3 and actions.shape[1] == start + horizon - 1:
            last = repeat(actions[:, -1], "B A -> B 1 A")
            actions = torch.cat([actions, last], dim=1)
        return self._bin_actions(actions, None, count=start + horizon)[:, start:]


def build_tokenizer(layout: TokenLayout) -> PreTrainedTokenizerFast:
    """
    A text tokenizer with one word an id, so that text-minded tools can hold, pad, print and read completions.

    Args:
        layout ([`TokenLayout`]): ids of the world.

    Returns:
        [`~transformers.PreTrainedTokenizerFast`]: words `<d…>` dynamics, `<c…>` context, `<a…>` action, `<bos>`,
        `<eos>`, in the order of their ids; padded with `<eos>`.

    Example:
        >>> layout = TokenLayout(
        ...     context_codebook_size=8, dynamics_codebook_size=4, context_grid=(2, 2), dynamics_grid=(1, 2),
        ...     action_bins=3, action_dims=1,
        ... )
        >>> tokenizer = build_tokenizer(layout)
        >>> tokenizer.decode([3, 4, 12, layout.eos_id])
        '<d3> <c0> <a0> <eos>'
        >>> tokenizer("<d3> <c0> <a0> <eos>").input_ids
        [3, 4, 12, 16]
    """
    sizes = {"d": layout.dynamics_codebook_size, "c": layout.context_codebook_size, "a": layout.action_bins}
    words = [f"<{kind}{code}>" for kind, size in sizes.items() for code in range(size)] + ["<bos>", "<eos>"]
    backend = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<eos>", padding_side="left"
    )


def _check_fit(layout: TokenLayout, codec: Codec, *, words: int, action_dims: int) -> None:
    """Raises where the parts of a processor contradict its layout."""
    given = {name: getattr(codec, name) for name in CODEC_FIELDS} | {"context_frames": codec.config.context_frames}
    for name, value in given.items():
        value = tuple(value) if isinstance(value, Sequence) else value
        if value != getattr(layout, name):
            raise ValueError(f"The layout has {name} {getattr(layout, name)}, the codec {value}; use `from_codec`.")
    if words != layout.vocabulary_size:
        raise ValueError(f"The layout has {layout.vocabulary_size} ids, the tokenizer {words}; use `build_tokenizer`.")
    if action_dims != layout.action_dims:
        raise ValueError(f"The layout has {layout.action_dims} action dimensions, the ranges have {action_dims}.")


def _to_tensor(array: Array, name: str) -> torch.Tensor:
    if not isinstance(array, torch.Tensor | np.ndarray):
        raise TypeError(f"Expected `{name}` as a torch tensor or numpy array, got {type(array).__name__}.")
    # torch warns about memory it may not write to, such as a dataset's; such an array is copied.
    return torch.as_tensor(np.require(array, requirements="W") if isinstance(array, np.ndarray) else array)
