"""
Trains a compressive tokenizer on pairs of context frames and later frames.

    loss = mean |decoded - frame| (1 + moving_weight [pixel moves])
         + context_weight mean |decoded context - context|
         + perceptual_weight LPIPS + adversarial_weight hinge

The paper (https://huggingface.co/papers/2505.13934, appendix on visual tokenizers) uses L1 1, perceptual 1 and
adversarial 0.1. Weighting moving pixels is ours: they are few, and a tokenizer that only copies is nearly right on all
the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm


if TYPE_CHECKING:
    from ..data import Episode

MOVING_THRESHOLD = 0.05
"""A pixel moves where a colour channel differs from the last context frame by more than this, of a range of 1."""


def sample_clips(
    frames: torch.Tensor, *, batch_size: int, context_frames: int, later_frames: int, horizon: int, seed: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Draw context frames and some of the frames that follow them within `horizon` steps.

    Args:
        frames (`torch.Tensor` of shape `(E, T, 3, H, W)`):
            Episodes of equal length, uint8 RGB.
        batch_size (`int`):
            Number `B` of contexts.
        context_frames (`int`):
            Frames `K` of a context.
        later_frames (`int`):
            Number `S` of later frames a context, all different; at most `horizon`.
        horizon (`int`):
            Largest distance of a later frame from the last context frame.
        seed (`list[int]`):
            Decides the draw; one list a step makes a run resumable.

    Returns:
        `tuple`: Context `(B, K, 3, H, W)` and later frames `(B, S, 3, H, W)`, floats in [0, 1].
    """
    rng = np.random.default_rng(seed)
    episodes = rng.integers(len(frames), size=(batch_size, 1))
    starts = rng.integers(frames.shape[1] - horizon - context_frames + 1, size=(batch_size, 1))
    offsets = np.stack([rng.permutation(horizon)[:later_frames] for _ in range(batch_size)])
    context = frames[episodes, starts + np.arange(context_frames)]
    later = frames[episodes, starts + context_frames + offsets]
    return context.float() / 255, later.float() / 255


def tokenizer_losses(
    later: torch.Tensor, context: torch.Tensor, decoded: torch.Tensor, decoded_context: torch.Tensor
) -> dict[str, torch.Tensor]:
    """
    Mean absolute errors of a reconstruction.

    Args:
        later (`torch.Tensor` of shape `(B, S, 3, H, W)`):
            Later frames in [0, 1].
        context (`torch.Tensor` of shape `(B, K, 3, H, W)`):
            Context frames in [0, 1].
        decoded (`torch.Tensor` of shape `(B, S, 3, H, W)`):
            Reconstruction of `later`.
        decoded_context (`torch.Tensor` of shape `(B, K, 3, H, W)`):
            Reconstruction of `context`.

    Returns:
        `dict`: `mae` over all pixels, `mae_moving` over moving pixels, `moving` their share, `mae_context`; scalars.
    """
    moving = ((later - context[:, -1:]).abs().amax(dim=2, keepdim=True) > MOVING_THRESHOLD).float()
    error = (decoded.float() - later).abs()
    return {
        "mae": error.mean(),
        "mae_moving": (error.mean(dim=2, keepdim=True) * moving).sum() / moving.sum().clamp(min=1),
        "moving": moving.mean(),
        "mae_context": (decoded_context.float() - context).abs().mean(),
    }


@torch.no_grad()
def validate_tokenizer(
    codec: torch.nn.Module, frames: torch.Tensor, *, horizon: int, batches: int = 8, batch_size: int = 16
) -> dict[str, float]:
    """
    Reconstruction errors and codebook use on fixed clips of held-out episodes.

    Args:
        codec (`CompressiveTokenizer`):
            The tokenizer; left in the mode it was in.
        frames (`torch.Tensor` of shape `(E, T, 3, H, W)`):
            Episodes of equal length, uint8 RGB.
        horizon (`int`):
            Steps that are reconstructed after the context.
        batches (`int`, *optional*, defaults to 8):
            Number of batches.
        batch_size (`int`, *optional*, defaults to 16):
            Contexts a batch.

    Returns:
        `dict`: `mae`, `mae_moving`, `mae_context`, `mae_copy_last` (of the context repeated), in [0, 1], and the numbers
        of different `dynamics_codes` and `context_codes` used.
    """
    was_training = codec.training
    codec.eval()
    sums: dict[str, float] = {}
    used: list[set[int]] = [set(), set()]
    for index in range(batches):
        context, later = sample_clips(
            frames,
            batch_size=batch_size,
            context_frames=codec.config.context_frames,
            later_frames=horizon,
            horizon=horizon,
            seed=[index],
        )
        decoded, decoded_context, *codes = codec(later, context_frames=context)
        values = tokenizer_losses(later, context, decoded.clamp(0, 1), decoded_context.clamp(0, 1))
        values["mae_copy_last"] = (later - context[:, -1:]).abs().mean()
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value.item() / batches
        for seen, new in zip(used, codes, strict=True):
            seen.update(new.unique().tolist())
    codec.train(was_training)
    return sums | {"dynamics_codes": len(used[0]), "context_codes": len(used[1])}


def learning_rate_at(step: int, *, max_steps: int, warmup_steps: int, peak: float) -> float:
    """Linear warm-up to `peak`, then half a cosine down to 2 % of it at `max_steps`."""
    warm = min(1.0, (step + 1) / max(warmup_steps, 1))
    return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / max_steps)))


def train_tokenizer(
    codec: torch.nn.Module,
    episodes: Sequence[Episode],
    *,
    validation_episodes: Sequence[Episode],
    output_dir: str | Path,
    max_steps: int,
    batch_size: int = 16,
    later_frames: int = 4,
    horizon: int = 4,
    learning_rate: float = 1e-3,
    warmup_steps: int = 100,
    weight_decay: float = 1e-4,
    moving_weight: float = 4.0,
    context_weight: float = 0.5,
    bf16: bool = False,
    seed: int = 0,
    save_steps: int = 500,
) -> list[dict[str, Any]]:
    """
    Train `codec` in place and save it to `output_dir`.

    Args:
        codec (`CompressiveTokenizer`):
            The tokenizer to train.
        episodes (`Sequence[Episode]`):
            Training episodes of equal length and frame size.
        validation_episodes (`Sequence[Episode]`):
            Held-out episodes.
        output_dir (`str` or `Path`):
            Gets the trained tokenizer, `history.json` and, until it is finished, `resume.pt`. A run that was cut off
            goes on from there and ends with the parameters of a run that was not.
        max_steps (`int`):
            Optimizer steps.
        batch_size (`int`, *optional*, defaults to 16):
            Contexts a step.
        later_frames (`int`, *optional*, defaults to 4):
            Later frames a context.
        horizon (`int`, *optional*, defaults to 4):
            Largest distance of a later frame from its context, in frames.
        learning_rate (`float`, *optional*, defaults to 1e-3):
            Peak of [`learning_rate_at`]; 5e-4 in the paper.
        warmup_steps (`int`, *optional*, defaults to 100):
            Steps of linear warm-up.
        weight_decay (`float`, *optional*, defaults to 1e-4):
            Of AdamW.
        moving_weight (`float`, *optional*, defaults to 4):
            Additional weight of pixels that move.
        context_weight (`float`, *optional*, defaults to 0.5):
            Weight of the context's own reconstruction.
        bf16 (`bool`, *optional*, defaults to `False`):
            Compute under bfloat16 autocast.
        seed (`int`, *optional*, defaults to 0):
            Decides the batches.
        save_steps (`int`, *optional*, defaults to 500):
            Steps between two validations and saved states.

    Returns:
        `list[dict]`: One entry a validation: `step`, `seconds` and the values of [`validate_tokenizer`].
    """
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    frames, validation = stack_frames(episodes), stack_frames(validation_episodes)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.99))
    history: list[dict[str, Any]] = []
    first, resume = 0, output_dir / "resume.pt"
    if resume.exists():
        state = torch.load(resume, weights_only=True)
        codec.load_state_dict(state["codec"])
        optimizer.load_state_dict(state["optimizer"])
        first, history = state["step"], json.loads(state["history"])
    codec.train()
    progress = tqdm(range(first, max_steps), initial=first, total=max_steps, desc="tokenizer", unit="step")
    for step in progress:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, max_steps=max_steps, warmup_steps=warmup_steps, peak=learning_rate)
        context, later = sample_clips(
            frames,
            batch_size=batch_size,
            context_frames=codec.config.context_frames,
            later_frames=later_frames,
            horizon=horizon,
            seed=[seed, step],
        )
        with torch.autocast(later.device.type, torch.bfloat16, enabled=bf16):
            decoded, decoded_context, *_ = codec(later, context_frames=context)
        losses = tokenizer_losses(later, context, decoded, decoded_context)
        weighted = losses["mae"] + moving_weight * losses["moving"].detach() * losses["mae_moving"]
        loss = weighted + context_weight * losses["mae_context"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % save_steps == 0 or step + 1 == max_steps:
            with torch.autocast(later.device.type, torch.bfloat16, enabled=bf16):
                values = validate_tokenizer(codec, validation, horizon=horizon)
            seconds = progress.format_dict["elapsed"] + (history[-1]["seconds"] if first else 0)
            history.append({"step": step + 1, "seconds": seconds, **values})
            progress.set_postfix(mae=f"{values['mae']:.4f}", mae_moving=f"{values['mae_moving']:.4f}")
            state = {"codec": codec.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save(state | {"history": json.dumps(history)}, output_dir / "resume.pt.part")
            (output_dir / "resume.pt.part").rename(resume)
    codec.eval()
    codec.save_pretrained(output_dir)
    (output_dir / "history.json").write_text(json.dumps(history, indent=1) + "\n", encoding="utf-8")
    resume.unlink(missing_ok=True)
    return history


def stack_frames(episodes: Sequence[Episode]) -> torch.Tensor:
    """
    Frames of episodes of equal length as one tensor `(E, T, 3, H, W)`, uint8.

    Raises:
        `ValueError`: If their shapes differ.
    """
    shapes = {episode.frames.shape for episode in episodes}
    if len(shapes) != 1:
        raise ValueError(f"Expected episodes of one length and frame size, got {sorted(shapes)}; cut them alike first.")
    return torch.from_numpy(np.stack([episode.frames for episode in episodes]))
