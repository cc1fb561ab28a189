"""
A video world as tokens: a visual tokenizer for frames, uniform bins for actions and for sensors if there are any, a
`TokenLayout` for positions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from .base import Codec
from .layout import TokenLayout
from .step_blocks import Array, StepBlockProcessor, build_tokenizer, check_batches, to_tensor


CODEC_FIELDS = ("context_codebook_size", "dynamics_codebook_size", "context_grid", "dynamics_grid")


class VideoWorldModelProcessor(StepBlockProcessor):
    r"""
    Writes context frames, observed steps and actions as a prompt, and reads predicted frames back from a completion.

    Follows the multi-step prediction of RLVR-World ([paper](https://huggingface.co/papers/2505.13934), section 5.1).
    The authors clamp an invalid id into the range. Position-aware sampling writes no such id, so `decode_state`
    raises; `decode_state(..., parity=True)` clamps.

    Frames everywhere are `(B, T, 3, H, W)` RGB, uint8 or float in `[0, 1]`, torch or numpy. Actions are `(B, T, A)` in
    the unit of their ranges; `actions[:, j]` is taken at the `j`-th frame counted from the last context frame if there
    are no observed steps, and from the first observed step otherwise. The one taken at the last predicted frame
    affects nothing in the window and may be left out: its tokens then repeat the action before it.

    If the ranges of a low-dimensional state are given, its values stand beside the codes of each step and are
    predicted, too, as the paper does with the proprioception of PushT (appendix). The columns `context_states` and
    `reference_states` are then needed, and a decoded state is a mapping of `predicted` frames and `predicted_states`.

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
            Highest value of each action dimension. Values outside the range fall into the outermost bins.
        fps (`float`, *optional*):
            Frames a second of the training data. The processor does not use it: it is kept for its users.
        state_low (`Sequence[float]` of length `P`, *optional*):
            Lowest value of each sensor dimension, if the layout has sensors.
        state_high (`Sequence[float]` of length `P`, *optional*):
            Highest value of each sensor dimension. Values outside the range fall into the outermost bins.
        action_law (`str`, *optional*):
            What an action means, where the world has a choice, in that world's words; the processor does not use it:
            it is kept for its users. None for checkpoints from before there was a choice.
        action_matrix (`Sequence[Sequence[float]]` of shape `(A, A)`, *optional*):
            What is written of an action: this matrix times it, in the same ranges; by default the action itself.

    Raises:
        ValueError: if codec, tokenizer or ranges do not fit the layout.

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
        state_low: Sequence[float] | None = None,
        state_high: Sequence[float] | None = None,
        action_law: str | None = None,
        action_matrix: Sequence[Sequence[float]] | None = None,
    ) -> None:
        layout = layout if isinstance(layout, TokenLayout) else TokenLayout.from_dict(layout)
        _check_fit(layout, codec)
        self.codec = codec
        codec.eval()  # the official codec has dropout, which would make codes random
        super().__init__(
            tokenizer,
            layout,
            action_low=action_low,
            action_high=action_high,
            state_low=state_low,
            state_high=state_high,
            fps=fps,
            action_law=action_law,
            action_matrix=action_matrix,
        )
        if layout.sensor_dims:
            self.predicts = ("frames", "sensors")
            self.prompt_columns = ("context", "actions", "context_states")
            self.reference_columns = ("reference", "reference_states")

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
        state_low: Sequence[float] | None = None,
        state_high: Sequence[float] | None = None,
        sensor_bins: int = 256,
        sensors_first: bool = False,
        action_law: str | None = None,
        action_matrix: Sequence[Sequence[float]] | None = None,
    ) -> "VideoWorldModelProcessor":
        """
        Builds a processor, with the layout and the tokenizer for a codec.

        Args:
            codec ([`~diffusers.ModelMixin`]): the visual tokenizer.
            action_low (`Sequence[float]` of length `A`): lowest value of each action dimension.
            action_high (`Sequence[float]` of length `A`): highest value of each action dimension.
            action_bins (`int`, *optional*, defaults to 256): bins of each action dimension, as in the paper.
            observed_steps (`int`, *optional*, defaults to 0): later frames given in the prompt, `M`.
            fps (`float`, *optional*): frames a second of the data.
            state_low (`Sequence[float]` of length `P`, *optional*): lowest value of each sensor dimension; with it,
                sensors are predicted beside the frames.
            state_high (`Sequence[float]` of length `P`, *optional*): highest value of each sensor dimension.
            sensor_bins (`int`, *optional*, defaults to 256): bins of each sensor dimension.
            sensors_first (`bool`, *optional*, defaults to `False`): whether a step's sensors are written before its
                codes, which are then drawn to fit them.
            action_law (`str`, *optional*): what an action means, see the class.
            action_matrix (`Sequence[Sequence[float]]` of shape `(A, A)`, *optional*): what is written of an action.

        Returns:
            [`VideoWorldModelProcessor`]
        """
        layout = TokenLayout(
            **{name: getattr(codec, name) for name in CODEC_FIELDS},
            action_bins=action_bins,
            action_dims=len(action_low),
            context_frames=codec.config.context_frames,
            observed_steps=observed_steps,
            sensor_dims=len(state_low or ()),
            sensor_bins=sensor_bins if state_low else 0,
            sensors_first=sensors_first,
        )
        beside: dict[str, Any] = {"state_low": state_low, "state_high": state_high, "action_law": action_law}
        beside["action_matrix"] = action_matrix
        return cls(build_tokenizer(layout), codec, layout, action_low, action_high, fps=fps, **beside)

    @torch.no_grad()
    def encode_prompt(self, context: Array, actions: Array, context_states: Array | None = None) -> torch.Tensor:
        """
        Token ids of the prompt.

        Args:
            context (`torch.Tensor` or `np.ndarray` of shape `(B, K + M, 3, H, W)`):
                `K` context frames, then `M` observed steps.
            actions (`torch.Tensor` or `np.ndarray` of shape `(B, T, A)`):
                Actions of the window, of which the first `max(M, 1)` are used.
            context_states (`torch.Tensor` or `np.ndarray` of shape `(B, K + M, P)`, *optional*):
                States of the given frames, where the world has sensors; the last `max(M, 1)` are used.

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
        sensor_bins = self._prompt_states(context_states, len(context_frames))
        return self.layout.write_prompt(context_codes, observed_codes, action_bins, sensor_bins)

    @torch.no_grad()
    def encode_window(
        self,
        context: Array,
        reference: Array,
        actions: Array,
        *,
        context_states: Array | None = None,
        reference_states: Array | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Token ids of prompt and completion, as `encode_prompt` and `encode_completion` give them, with one pass of the
        codec for all later frames.

        Args:
            context (`torch.Tensor` or `np.ndarray` of shape `(B, K + M, 3, H, W)`): as in `encode_prompt`.
            reference (`torch.Tensor` or `np.ndarray` of shape `(B, S, 3, H, W)`): the recorded frames.
            actions (`torch.Tensor` or `np.ndarray` of shape `(B, T, A)`): `max(M, 1) + S` actions, or one fewer.
            context_states (`torch.Tensor` or `np.ndarray` of shape `(B, K + M, P)`, *optional*): as in
                `encode_prompt`.
            reference_states (`torch.Tensor` or `np.ndarray` of shape `(B, S, P)`, *optional*): the recorded states,
                where the world has sensors.

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
            self._prompt_states(context_states, len(context_frames)),
        )
        bins = self._bin_completion_actions(actions, reference.shape[1])
        sensors = self._given_states(reference_states, "reference_states", reference.shape[1], len(reference))
        return prompt_ids, self.layout.write_completion(codes[:, observed:], bins, sensors)

    @torch.no_grad()
    def decode_state(
        self, completion_ids: torch.Tensor, context: Array, *, parity: bool = False
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """
        Predicted frames of completions, and predicted states where the world has sensors.

        Args:
            completion_ids (`torch.Tensor` of shape `(B, S * step_length)`, int):
                Completions; those of one context stand together.
            context (`torch.Tensor` or `np.ndarray` of shape `(B0, K + M, 3, H, W)`):
                Contexts; `B` is a multiple of `B0`, and each context is encoded once.
            parity (`bool`, *optional*, defaults to `False`):
                Whether ids that are not valid at their position are clamped, as in the authors' code.

        Returns:
            `torch.Tensor` of shape `(B, S, 3, H, W)`, float32 in `[0, 1]`; where the world has sensors, a `dict` with
            it as `predicted` and, as `predicted_states`, a float32 `torch.Tensor` of shape `(B, S, P)` in the unit of
            the ranges.

        Raises:
            ValueError: for an id that is not valid at its position, unless it is clamped, or a `B` that is no multiple
                of `B0`.
        """
        context_frames, _ = self._split_context(context)
        check_batches(completion_ids, len(context_frames))
        completion_ids = torch.as_tensor(completion_ids).to(self.codec.device)
        if parity:
            completion_ids = self.layout.clamp_completion(completion_ids)
        codes = self.layout.read_dynamics(completion_ids)
        frames = self.codec.decode(codes, context_frames=context_frames).float()
        if not self.layout.sensor_dims:
            return frames
        return {"predicted": frames, "predicted_states": self._read_states(completion_ids)}

    def decode_weights(self, weights: torch.Tensor, context: Array) -> torch.Tensor:
        """
        Frames of weights over the codec's codes, with gradients: where a weight is 1, those of `decode_state`.

        Args:
            weights (`torch.Tensor` of shape `(B, S, N, dynamics_codebook_size)`, float):
                Weights of each dynamics code.
            context (`torch.Tensor` or `np.ndarray` of shape `(B0, K + M, 3, H, W)`):
                Contexts; `B` is a multiple of `B0`.

        Returns:
            `torch.Tensor` of shape `(B, S, 3, H, W)`, float32 in `[0, 1]`.

        Raises:
            TypeError: if the codec lets no gradient through.
        """
        context_frames, _ = self._split_context(context)
        frames = self.codec.decode(weights, context_frames=context_frames).float()
        if torch.is_grad_enabled() and weights.requires_grad and not frames.requires_grad:
            raise TypeError(
                f"Expected a codec whose `decode` takes weights over its codes and lets gradients through, got "
                f"{type(self.codec).__name__}; see `CompressiveTokenizer.decode`."
            )
        return frames

    def _prompt_states(self, states: Array | None, batch: int) -> torch.Tensor | None:
        """Bins `(B, max(M, 1), P)` of the prompt's states; `None` without sensors."""
        given = self.layout.context_frames + self.layout.observed_steps
        bins = self._given_states(states, "context_states", given, batch)
        return None if bins is None else bins[:, -self.layout.prompt_actions :]

    def _given_states(self, states: Array | None, name: str, steps: int, batch: int) -> torch.Tensor | None:
        """Bins `(B, T, P)` of states, which must be given if the world has sensors, and only then."""
        dims = self.layout.sensor_dims
        if states is None and dims:
            raise ValueError(
                f"Expected `{name}` of shape (B, {steps}, {dims}), as this world has sensors, got none; rows "
                "made from episodes with states have this column."
            )
        if states is not None and not dims:
            raise ValueError(
                f"This world has no sensors, got `{name}`; give `state_low` and `state_high` to add them."
            )
        return None if states is None else self._bin_states(states, name, steps=steps, batch=batch)

    def _split_context(self, context: Array) -> tuple[torch.Tensor, torch.Tensor]:
        """Context frames `(B, K, 3, H, W)` and observed steps `(B, M, 3, H, W)`."""
        first, second = self.layout.context_frames, self.layout.observed_steps
        frames = self._read_frames(context, "context")
        if frames.shape[1] != first + second:
            raise ValueError(
                f"Expected {first} context frames and {second} observed steps, got {frames.shape[1]} frames."
            )
        # On a CPU torch's GroupNorm is less exact on views with channels last, and codes near a border flip.
        return frames[:, :first].contiguous(), frames[:, first:].contiguous()

    def _read_frames(self, frames: Array, name: str) -> torch.Tensor:
        """Frames as the codec takes them: float32 in `[0, 1]`, contiguous, on its device."""
        frames = to_tensor(frames, name)
        height, width = self.codec.config.image_size
        if frames.ndim != 5 or tuple(frames.shape[2:]) != (3, height, width):
            raise ValueError(
                f"Expected `{name}` of shape (B, T, 3, {height}, {width}), got {tuple(frames.shape)}; resize the "
                "frames, put channels before height, and add a batch dimension if it is missing."
            )
        # Moved before it is divided: as uint8 there is a quarter of it to move.
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


def _check_fit(layout: TokenLayout, codec: Codec) -> None:
    """Raises where the codec contradicts the layout."""
    given = {name: getattr(codec, name) for name in CODEC_FIELDS} | {"context_frames": codec.config.context_frames}
    for name, value in given.items():
        value = tuple(value) if isinstance(value, Sequence) else value
        if value != getattr(layout, name):
            raise ValueError(f"The layout has {name} {getattr(layout, name)}, the codec {value}; use `from_codec`.")
