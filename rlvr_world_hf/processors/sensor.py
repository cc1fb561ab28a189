"""A world of sensors as tokens: uniform bins for states and actions, a `TokenLayout` for positions."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from .layout import TokenLayout
from .step_blocks import Array, StepBlockProcessor, build_tokenizer, check_batches


class SensorWorldModelProcessor(StepBlockProcessor):
    r"""
    Writes a history of low-dimensional states and actions as a prompt, and reads predicted states from a completion.

    There is no visual tokenizer: each number of a state is one token, its uniform bin, as RLVR-World writes actions
    and the proprioception of PushT ([paper](https://huggingface.co/papers/2505.13934), section 5.1 and the appendix on
    PushT). A token is read back as its bin's centre, so even the right bin is off by up to half its width.

    States are `(B, T, P)` and actions `(B, T, A)`, torch or numpy, in the unit of their ranges. `actions[:, j]` is
    taken at the `j`-th observed step; the one taken at the last predicted step affects nothing in the window and may
    be left out. Bins do not wrap around: give an angle as its cosine and sine.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            One word an id; see [`build_tokenizer`].
        layout ([`TokenLayout`] or `dict`):
            Ids, lengths and masks; without codes of frames.
        state_low (`Sequence[float]` of length `P`):
            Lowest value of each sensor dimension.
        state_high (`Sequence[float]` of length `P`):
            Highest value of each sensor dimension. Values outside the range fall into the outermost bins.
        action_low (`Sequence[float]` of length `A`):
            Lowest value of each action dimension.
        action_high (`Sequence[float]` of length `A`):
            Highest value of each action dimension.
        fps (`float`, *optional*):
            Steps a second of the data.
        action_law (`str`, *optional*):
            What an action means, where the world has a choice, in that world's words; the processor does not use it:
            it is kept for its users. None for checkpoints from before there was a choice.
        action_matrix (`Sequence[Sequence[float]]` of shape `(A, A)`, *optional*):
            What is written of an action: this matrix times it, in the same ranges; by default the action itself.

    Raises:
        ValueError: if tokenizer or ranges do not fit the layout, or the layout has frames.

    Example:
        >>> processor = SensorWorldModelProcessor.from_ranges([0.0, -1.0], [512.0, 1.0], [-2.0], [2.0], fps=2.0)
        >>> states, actions = torch.tensor([[[256.0, 0.0], [300.0, 0.5], [310.0, 1.0]]]), torch.zeros(1, 3, 1)
        >>> prompt_ids = processor.encode_prompt(states[:, :1], actions)
        >>> completion_ids = processor.encode_completion(states[:, 1:], states[:, :1], actions)
        >>> prompt_ids.shape, completion_ids.shape
        (torch.Size([1, 3]), torch.Size([1, 6]))
        >>> processor.decode_state(completion_ids, states[:, :1])[0, 0]
        tensor([301.0000,   0.5039])
    """

    predicts = ("sensors",)

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        layout: TokenLayout | dict[str, Any],
        state_low: Sequence[float],
        state_high: Sequence[float],
        action_low: Sequence[float],
        action_high: Sequence[float],
        fps: float | None = None,
        action_law: str | None = None,
        action_matrix: Sequence[Sequence[float]] | None = None,
    ) -> None:
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
        if self.layout.dynamics_length:
            raise ValueError(
                f"The layout has {self.layout.dynamics_length} codes a frame, and this processor has no visual "
                "tokenizer; use `VideoWorldModelProcessor` for frames and sensors together, `from_ranges` for sensors."
            )

    @classmethod
    def from_ranges(
        cls,
        state_low: Sequence[float],
        state_high: Sequence[float],
        action_low: Sequence[float],
        action_high: Sequence[float],
        *,
        sensor_bins: int = 256,
        action_bins: int = 256,
        observed_steps: int = 1,
        fps: float | None = None,
        action_law: str | None = None,
        action_matrix: Sequence[Sequence[float]] | None = None,
    ) -> "SensorWorldModelProcessor":
        """
        Builds a processor, with the layout and the tokenizer for the ranges of states and actions.

        Args:
            state_low (`Sequence[float]` of length `P`): lowest value of each sensor dimension.
            state_high (`Sequence[float]` of length `P`): highest value of each sensor dimension.
            action_low (`Sequence[float]` of length `A`): lowest value of each action dimension.
            action_high (`Sequence[float]` of length `A`): highest value of each action dimension.
            sensor_bins (`int`, *optional*, defaults to 256): bins of each sensor dimension.
            action_bins (`int`, *optional*, defaults to 256): bins of each action dimension, as in the paper.
            observed_steps (`int`, *optional*, defaults to 1): states given in the prompt, `M`. One is enough where
                the state holds velocities; two or more where they must be read from differences.
            fps (`float`, *optional*): steps a second of the data.
            action_law (`str`, *optional*): what an action means, see the class.
            action_matrix (`Sequence[Sequence[float]]` of shape `(A, A)`, *optional*): what is written of an action.

        Returns:
            [`SensorWorldModelProcessor`]
        """
        layout = TokenLayout(
            context_codebook_size=0,
            dynamics_codebook_size=0,
            context_grid=(0, 0),
            dynamics_grid=(0, 0),
            context_frames=0,
            observed_steps=observed_steps,
            sensor_dims=len(state_low),
            sensor_bins=sensor_bins,
            action_dims=len(action_low),
            action_bins=action_bins,
        )
        ranges = (state_low, state_high, action_low, action_high)
        return cls(
            build_tokenizer(layout), layout, *ranges, fps=fps, action_law=action_law, action_matrix=action_matrix
        )

    def encode_prompt(self, context: Array, actions: Array) -> torch.Tensor:
        """
        Token ids of the prompt.

        Args:
            context (`torch.Tensor` or `np.ndarray` of shape `(B, M, P)`): the observed states.
            actions (`torch.Tensor` or `np.ndarray` of shape `(B, T, A)`): the first `M` are used.

        Returns:
            `torch.Tensor` of shape `(B, prompt_length)`, int64, on the CPU.

        Raises:
            TypeError: for inputs that are neither arrays nor tensors.
            ValueError: for a wrong shape, or NaN.
        """
        states = self._bin_states(context, "context", steps=self.layout.observed_steps)
        bins = self._bin_actions(actions, len(states), count=self.layout.prompt_actions)
        return self.layout.write_prompt(None, None, bins, states)

    def encode_window(self, context: Array, reference: Array, actions: Array) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Token ids of prompt and completion.

        Args:
            context (`torch.Tensor` or `np.ndarray` of shape `(B, M, P)`): as in `encode_prompt`.
            reference (`torch.Tensor` or `np.ndarray` of shape `(B, S, P)`): the recorded states.
            actions (`torch.Tensor` or `np.ndarray` of shape `(B, T, A)`): `M + S` actions, or one fewer.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: prompt `(B, prompt_length)`, completion `(B, S * step_length)`, int64.

        Raises:
            ValueError: as `encode_prompt`.
        """
        prompt_ids = self.encode_prompt(context, actions)
        states = self._bin_states(reference, "reference", batch=len(prompt_ids))
        bins = self._bin_completion_actions(actions, states.shape[1])
        return prompt_ids, self.layout.write_completion(None, bins, states)

    def decode_state(self, completion_ids: torch.Tensor, context: Array) -> torch.Tensor:
        """
        Predicted states of completions.

        Args:
            completion_ids (`torch.Tensor` of shape `(B, S * step_length)`, int):
                Completions; those of one context stand together.
            context (`torch.Tensor` or `np.ndarray` of shape `(B0, M, P)`):
                Contexts; `B` is a multiple of `B0`.

        Returns:
            `torch.Tensor` of shape `(B, S, P)`, float32 in the unit of the ranges, on the completions' device.

        Raises:
            ValueError: for an id that is not valid at its position, or a `B` that is no multiple of `B0`.
        """
        check_batches(completion_ids, len(context))
        return self._read_states(torch.as_tensor(completion_ids))
