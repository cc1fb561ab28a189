"""Prediction with a world model: frames or sensor states, and actions in; predicted frames or states out."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from huggingface_hub import CommitInfo

from .data.episode import Episode
from .hub.checkpoint import choose_attention, load_world_model, save_world_model
from .hub.example import load_example
from .hub.push import push_world_model
from .processors.base import state_columns
from .rollouts.sampling import rollout
from .rollouts.text import sample_answers


class WorldModelPipeline:
    """
    Predicts which states follow given states under given actions.

    The states are frames in a video world: `pipeline(frames, actions)`. In a world of sensors they are vectors:
    `pipeline(states, actions)`. In a world with both, both are given and predicted: `pipeline(frames, actions,
    states=states)` returns a mapping of `predicted` and `predicted_states`. In a world of text, `pipeline(state,
    action)` returns answers: texts that say what changes. A whole prompt may replace state and action.

    This is a plain class, not a `transformers.Pipeline`. That one is made for one input, a task name from a fixed
    list, and parameters sorted into preprocess, forward and postprocess. Here two inputs belong together, and the
    processor already does the pre- and postprocessing.

    Args:
        model (`PreTrainedModel`):
            Causal transformer.
        processor (`WorldModelProcessor`):
            Writes states and actions as tokens and reads predictions back.

    Example:

    ```python
    >>> from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [512.0, 512.0])
    >>> sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=processor.layout.vocabulary_size, **sizes))
    >>> pipeline = WorldModelPipeline(model, processor)
    >>> frame, actions = np.zeros((16, 16, 3), np.uint8), np.full((4, 2), 256.0)  # the first three lead somewhere
    >>> pipeline(frame, actions, num_samples=2).shape
    torch.Size([2, 3, 3, 16, 16])

    ```
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model
        self.processor = processor

    @classmethod
    def from_pretrained(
        cls,
        folder_or_repo: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> "WorldModelPipeline":
        """
        Load from a folder, by a bundled name such as `"pusht-rlvr"`, or from a Hub repository; arguments and errors
        are those of [`load_world_model`].

        Returns:
            `WorldModelPipeline`: ready to be called.
        """
        return cls(*load_world_model(folder_or_repo, revision=revision, token=token, device=device, dtype=dtype))

    def example(self) -> Episode:
        """
        A recorded episode that comes with the checkpoint, to try it on: what is given, the actions, what followed.

        Returns:
            `Episode`: of PushT 6 frames, 0.5 s apart, and where the agent was; a model of one context frame and one
            observed step is given the first two.

        Raises:
            `FileNotFoundError`: If it was not loaded from a folder or repository, or none lies there.

        Example:

        ```python
        >>> world = WorldModelPipeline.from_pretrained("pusht-rlvr")
        >>> start = world.example()
        >>> futures = world(start.frames[:2], start.actions[1:], states=start.states[:2], num_samples=2)
        >>> futures["predicted"].shape
        torch.Size([2, 4, 3, 64, 64])

        ```
        """
        return load_example(self.model.name_or_path)

    def save_pretrained(self, folder: str | os.PathLike[str], *, merge_adapter: bool = True) -> Path:
        """Save model and processor, see [`save_world_model`]; returns the folder."""
        return save_world_model(folder, self.model, self.processor, merge_adapter=merge_adapter)

    def push_to_hub(self, repo_id: str, *, merge_adapter: bool = True, **options: Any) -> CommitInfo:
        """
        Upload model and processor to a Hub repository, `"owner/name"`; arguments and errors are those of
        [`push_world_model`][] and [`push_checkpoint`][].

        Returns:
            [`~huggingface_hub.CommitInfo`]: the commit.
        """
        return push_world_model(self.model, self.processor, repo_id, merge_adapter=merge_adapter, **options)

    def __call__(
        self,
        frames: Any,
        actions: Any = None,
        *,
        states: Any = None,
        num_samples: int = 1,
        horizon: int | None = None,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Any:
        """
        Predict the future of one situation.

        Args:
            frames (array, tensor, PIL image, or list of them):
                The given frames, oldest first: one `(3, H, W)` or `(H, W, 3)`, or several; uint8, or float in `[0,
                1]`; RGB. In a world of sensors, the given states `(K, P)`, or one state `(P,)`, in the unit of the
                data. In a world of text, the state, or, without an action, the whole prompt.
            actions (array, tensor or nested list of shape `(T, A)`):
                Actions from the last given frame on, or from the first observed step if the processor has any, in the
                unit of the data. With `max(observed steps, 1) + S` actions, `S` frames are predicted; the last
                action is taken at the last predicted frame and influences nothing, so it may be left out if
                `horizon` is given. In a world of text, the action, a `str`.
            states (array, tensor or nested list of shape `(K, P)`, *optional*):
                States of the given frames, in a world with both.
            num_samples (`int`, *optional*, defaults to 1):
                Number of predictions.
            horizon (`int`, *optional*):
                Number of frames to predict. Defaults to what the actions cover.
            temperature (`float`, *optional*, defaults to 1.0):
                Divides the logits; 0 takes the likeliest token.
            top_k (`int`, *optional*, defaults to 0):
                Draw only from so many likeliest tokens; 0 for all.
            top_p (`float`, *optional*, defaults to 1.0):
                Draw only from the likeliest tokens that together have this probability.
            seed (`int`, *optional*, defaults to 0):
                Seed of the noise.

        Returns:
            `torch.Tensor` of shape `(num_samples, S, 3, H, W)`: float32 in `[0, 1]`, RGB; in a world of sensors
            `(num_samples, S, P)`, in the unit of the data; with both, a `dict` of `predicted` and `predicted_states`;
            in a world of text, a `list[str]`.

        Raises:
            `ValueError`: If number, size or values of frames or actions do not fit the processor.
            `TypeError`: If the frames are not images.
        """
        if "text" in self.processor.predicts:
            prompt = frames if actions is None else self.processor.write_prompt(frames, actions)
            completions = sample_answers(
                self._policy(), self.processor, [prompt], num_samples=num_samples, temperature=temperature,
                top_k=top_k, top_p=top_p, seed=seed,
            )[0]  # fmt: skip
            return [self.processor.find_answer(completion) for completion in completions]
        predicted = self.predict_batch(
            [frames],
            [actions],
            states=None if states is None else [states],
            num_samples=num_samples,
            horizon=horizon,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
        )
        if isinstance(predicted, torch.Tensor):
            return predicted[0]
        return {name: batch[0] for name, batch in predicted.items()}

    def predict_batch(
        self,
        frames: Sequence[Any],
        actions: Sequence[Any],
        *,
        states: Sequence[Any] | None = None,
        num_samples: int = 1,
        horizon: int | None = None,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Any:
        """
        Predict the futures of several situations at once.

        Item `b` is predicted with the seed `seed + b`, and is equal to what a call with that seed returns.

        Args:
            frames (`Sequence` of length `B`):
                Each as in `__call__`.
            actions (`Sequence` of length `B`):
                Each as in `__call__`, all of one length.
            states (`Sequence` of length `B`, *optional*):
                Each as in `__call__`.
            num_samples, horizon, temperature, top_k, top_p, seed:
                As in `__call__`.

        Returns:
            `torch.Tensor` of shape `(B, num_samples, S, 3, H, W)`: float32 in `[0, 1]`, RGB; or as `__call__`.

        Raises:
            `ValueError`: If there are not as many actions as frames, or as `__call__`.
        """
        if len(frames) != len(actions) or not len(frames):
            raise ValueError(
                f"Expected frames and actions of the same situations, got {len(frames)} and {len(actions)}."
            )
        read = _frames_first if "frames" in self.processor.predicts else _states_first
        columns: dict[str, Any] = {"context": torch.stack([read(item) for item in frames])}
        if states is not None:
            columns["context_states"] = torch.stack([_states_first(item) for item in states])
        record = rollout(
            self._policy(),
            self.processor,
            actions=torch.stack([_rows(item, "actions") for item in actions]),
            **columns,
            horizon=self._horizon(len(actions[0]), horizon),
            num_samples=num_samples,
            seeds=[seed + item for item in range(len(frames))],
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        futures = {
            name: rearrange(predicted, "(b g) ... -> b g ...", b=len(frames))
            for name, predicted in state_columns(record.predicted).items()
        }
        return futures if len(futures) > 1 else futures["predicted"]

    def predict_candidates(
        self,
        frames: Any,
        actions: Any,
        *,
        states: Any = None,
        horizon: int | None = None,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Any:
        """
        Predict what follows one situation under each of several sequences of actions, as planning needs it.

        The situation is computed once. Prediction `n` is equal to `pipeline(frames, actions[n], num_samples=N)[n]`
        with the same seed.

        Args:
            frames (array, tensor, PIL image, or list of them):
                The given frames or states, as in `__call__`.
            actions (array, tensor or nested list of shape `(N, T, A)`):
                Sequences, each as in `__call__`. Actions before the last given frame must be the same in all of them.
            states (array, tensor or nested list of shape `(K, P)`, *optional*):
                States of the given frames, in a world with both.
            horizon (`int`, *optional*):
                Number of frames to predict. Defaults to what the actions cover.
            temperature (`float`, *optional*, defaults to 1.0):
                As in `__call__`; so are the next three.
            top_k (`int`, *optional*, defaults to 0):
                Draw only from so many likeliest tokens.
            top_p (`float`, *optional*, defaults to 1.0):
                Draw only from the likeliest tokens that together have this probability.
            seed (`int`, *optional*, defaults to 0):
                Seed of the noise.

        Returns:
            `torch.Tensor` of shape `(N, S, 3, H, W)`: float32 in `[0, 1]`, RGB; or as `__call__`.

        Raises:
            `ValueError`: As `__call__`, or if the actions are not sequences, or differ before the last given frame.
        """
        sequences = torch.as_tensor(actions, dtype=torch.float32)
        if sequences.ndim != 3 or not len(sequences):
            raise ValueError(
                f"Expected actions of shape (N, T, A), one sequence per candidate, got {tuple(sequences.shape)}; for "
                "a single sequence call the pipeline itself."
            )
        read = _frames_first if "frames" in self.processor.predicts else _states_first
        columns: dict[str, Any] = {} if states is None else {"context_states": _states_first(states)[None]}
        record = rollout(
            self._policy(),
            self.processor,
            context=read(frames)[None],
            actions=sequences,
            **columns,
            horizon=self._horizon(sequences.shape[1], horizon),
            num_samples=len(sequences),
            seeds=[seed],  # one situation, so one seed: candidate n has the noise of sample n
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        futures = state_columns(record.predicted)
        return futures if len(futures) > 1 else futures["predicted"]

    def _policy(self) -> Any:
        """The model, with the attention for where it computes now; on a CPU it keeps what it was loaded with."""
        return self.model if self.model.device.type == "cpu" else choose_attention(self.model)

    def _horizon(self, actions: int, asked: int | None) -> int:
        before = self.processor.layout.prompt_actions
        horizon = actions - before if asked is None else asked
        if horizon < 1:
            raise ValueError(
                f"{actions} actions leave no frame to predict: {before} are needed before the first one. Give "
                f"{before} + S actions for S frames, or `horizon=S` and one fewer."
            )
        return horizon


def _frames_first(frames: Any) -> torch.Tensor:
    """The given frames as `(T, 3, H, W)`, uint8 or float."""
    if isinstance(frames, list | tuple):
        if not frames:
            raise ValueError("Expected at least one given frame, got an empty list.")
        return torch.cat([_frames_first(frame) for frame in frames])
    # Copied, as torch warns of arrays that are read-only, such as those of pictures.
    tensor = frames if isinstance(frames, torch.Tensor) else torch.from_numpy(np.array(_as_rgb(frames)))
    if tensor.ndim not in (3, 4) or 3 not in (tensor.shape[-3], tensor.shape[-1]):
        raise ValueError(
            f"Expected frames of shape (3, H, W), (H, W, 3), (T, 3, H, W) or (T, H, W, 3), got {tuple(tensor.shape)}; "
            "give RGB frames, and several situations to `predict_batch`."
        )
    # Where both could be colours, channels come first.
    if tensor.shape[-3] != 3:
        tensor = rearrange(tensor, "... h w c -> ... c h w")
    return tensor if tensor.ndim == 4 else tensor[None]


def _as_rgb(frames: Any) -> Any:
    if hasattr(frames, "convert"):  # a PIL image of any mode
        return frames.convert("RGB")
    if not hasattr(frames, "__array__"):
        raise TypeError(f"Expected frames as array, tensor, PIL image or list of them, got {type(frames).__name__}.")
    return frames


def _states_first(states: Any) -> torch.Tensor:
    """The given states as `(T, P)`; a single state may come as `(P,)`."""
    rows = states if isinstance(states, torch.Tensor) else np.array(states, dtype=np.float32)
    return _rows(rows[None] if rows.ndim == 1 else rows, "states")


def _rows(values: Any, name: str) -> torch.Tensor:
    tensor = torch.as_tensor(values, dtype=torch.float32)
    if tensor.ndim != 2:
        raise ValueError(f"Expected {name} of shape (T, dimensions), one row a frame, got {tuple(tensor.shape)}.")
    return tensor
