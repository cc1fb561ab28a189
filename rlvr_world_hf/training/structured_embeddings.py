"""
Embeddings that know what ids mean: alike codes, and neighbouring bins, have alike vectors, and learn together.

A code of a finite scalar quantizer is a point of a grid, and a bin a place in a range. Fresh embeddings know nothing
of it, and learn each of a thousand ids from the few times that it occurs.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed
from torch.nn.functional import normalize
from torch.optim.optimizer import Optimizer
from transformers import PreTrainedModel


WAVES = {"codes": 6, "bins": 12}
"""Cosines of 1, 2, ... half waves over the range of a code's channel, and of a bin's dimension."""

FEATURES_NORM = 2.0
"""Norm of an id's features in [`share_learning`], as of four channels of which each has one level."""

NOISE = 0.3
"""Share of what each id has of its own, so that all of them can be told apart."""


def structure_embeddings(model: PreTrainedModel, processor: Any, *, seed: int = 0) -> None:
    """
    Begin embeddings and output head of a fresh policy with features of what ids mean, in a random basis.

    Special ids keep what they have.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The policy, changed in place.
        processor ([`StepBlockProcessor`]):
            Its layout says which ids are what, its codec which points its codes are.
        seed (`int`, *optional*, defaults to 0):
            Decides the basis.

    Example:

    ```python
    >>> from rlvr_world_hf import SensorWorldModelProcessor
    >>> from rlvr_world_hf.training import build_policy
    >>> world = SensorWorldModelProcessor.from_ranges([0.0], [1.0], [-1.0], [1.0], sensor_bins=32, action_bins=16)
    >>> sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    >>> policy = build_policy(world.layout, **sizes)
    >>> structure_embeddings(policy, world)
    >>> first, next_to_it, last = torch.nn.functional.normalize(policy.get_input_embeddings().weight)[[0, 1, 31]]
    >>> bool(first @ next_to_it > 0.5 > first @ last)
    True

    ```
    """
    generator = torch.Generator().manual_seed(seed)
    deviation = getattr(model.config, "initializer_range", 0.02)
    for start, features in _features_of_ids(processor):
        for table in _tables(model):
            basis = torch.randn(features.shape[1], table.shape[1], generator=generator) / math.sqrt(features.shape[1])
            own = torch.randn(len(features), table.shape[1], generator=generator)
            vectors = deviation * (features @ basis + NOISE * own) / math.sqrt(1 + NOISE**2)
            with torch.no_grad():
                table[start : start + len(features)] = vectors.to(table)


def share_learning(model: PreTrainedModel, processor: Any) -> Callable[[Optimizer], None]:
    r"""
    Have embeddings and output head learn along what ids mean, beside each id for itself.

    A table of vectors `W` `(N, D)` is trained as `F C + R`, with features `F` `(N, f)` of the ids, such as the level
    of each channel of a code, and coefficients `C` and rests `R`, both learned: what is learned of a code is learned
    of all codes that share a level with it. Only the sum is kept. The gradient of `C` is `F^T` times that of `W`, so
    each step of the optimizer moves `W` by `F` times the step of `C`, in addition to its own: the model is a plain one
    at any time, and a run goes on exactly from the optimizer's state.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The policy.
        processor ([`StepBlockProcessor`]):
            Its layout says which ids are what, its codec which points its codes are.

    Returns:
        `Callable`: To be called once with the optimizer of the policy, before its scheduler is made.

    Raises:
        ValueError: When that is called, if the weights are sharded.

    Example:

    ```python
    >>> from rlvr_world_hf import SensorWorldModelProcessor
    >>> from rlvr_world_hf.training import build_policy
    >>> world = SensorWorldModelProcessor.from_ranges([0.0], [1.0], [-1.0], [1.0], sensor_bins=32, action_bins=16)
    >>> sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    >>> policy = build_policy(world.layout, **sizes)
    >>> optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    >>> share_learning(policy, world)(optimizer)
    >>> before = policy.lm_head.weight[3].clone()
    >>> loss = -policy(input_ids=torch.tensor([[0]])).logits[0, 0, 2]  # of the bin beside
    >>> loss.backward()
    >>> optimizer.step()
    >>> bool((policy.lm_head.weight[3] != before).any())
    True

    ```
    """
    found = _features_of_ids(processor)

    def share(optimizer: Optimizer) -> None:
        parts = []
        for start, features in found:
            for table in _tables(model):
                if _is_sharded(table):
                    raise ValueError(
                        "Expected whole embeddings to share what they learn, got sharded ones; train without "
                        "`shared_learning`, or without sharding."
                    )
                # Each step of Adam is about the learning rate in each coefficient, whatever the features' scale.
                along = FEATURES_NORM * normalize(features).to(table)
                coefficients = torch.nn.Parameter(along.new_zeros(along.shape[1], table.shape[1]))
                parts.append((table, slice(start, start + len(along)), along, coefficients))
        optimizer.add_param_group({"params": [coefficients for *_, coefficients in parts], "weight_decay": 0.0})

        @torch.no_grad()
        def give_gradients(*_: Any) -> None:
            for table, ids, features, coefficients in parts:
                if table.grad is not None:
                    coefficients.grad = features.T @ table.grad[ids]

        @torch.no_grad()
        def move(*_: Any) -> None:
            for table, ids, features, coefficients in parts:
                table[ids] += features @ coefficients
                coefficients.zero_()

        optimizer.register_step_pre_hook(give_gradients)
        optimizer.register_step_post_hook(move)

    return share


def _tables(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """Input and output embeddings; one, where they are tied."""
    tables = (part.weight for part in (model.get_input_embeddings(), model.get_output_embeddings()))
    return list({id(table): table for table in tables}.values())


def _is_sharded(table: torch.Tensor) -> bool:
    if not distributed.is_available():
        return False
    from torch.distributed.tensor import DTensor  # which such a build of torch lacks

    return isinstance(table, DTensor)


def _features_of_ids(processor: Any) -> list[tuple[int, torch.Tensor]]:
    """First id of each kind, and features `(N, F)` of its ids, each of mean 0 and deviation 1."""
    layout, codec = processor.layout, processor.codec
    found = []
    if codec is not None:
        quantizers = {0: getattr(codec, "dynamics_quantizer", None) or getattr(codec, "quantizer", None)}
        quantizers[layout.dynamics_codebook_size] = getattr(codec, "context_quantizer", None)
        sizes = {0: layout.dynamics_codebook_size, layout.dynamics_codebook_size: layout.context_codebook_size}
        for start, quantizer in quantizers.items():
            if quantizer is not None and sizes[start]:
                points = quantizer.indices_to_values(torch.arange(sizes[start], device=codec.device)).cpu()
                found.append((start, _waves(points, WAVES["codes"])))
    for start, bins in ((layout.sensor_offset, layout.sensor_bins), (layout.action_offset, layout.action_bins)):
        if bins:
            found.append((start, _waves(torch.linspace(-1, 1, bins)[:, None], WAVES["bins"])))
    return found


def _waves(points: torch.Tensor, count: int) -> torch.Tensor:
    """Points `(N, d)` of [-1, 1] and cosines of each of their dimensions, as features `(N, d (1 + count))`."""
    angles = math.pi / 2 * torch.arange(1, count + 1) * (points[..., None] + 1)  # (N, d, count)
    features = torch.cat([points[..., None], angles.cos()], dim=-1).flatten(1)
    spread = features.std(dim=0, keepdim=True)
    return ((features - features.mean(dim=0, keepdim=True)) / spread.clamp(min=1e-6)).nan_to_num(0.0)
