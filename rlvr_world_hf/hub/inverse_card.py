"""The README of an inverse dynamics model: what it reads, how well, and how to use it as a reward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from ..rewards.inverse_dynamics import InverseDynamicsConfig


TAGS = ("world-model", "inverse-dynamics", "robotics", "reward-model")


def inverse_card(config: InverseDynamicsConfig, measured: Mapping[str, Any], *, world: str, data: str) -> str:
    """
    Write the card.

    Args:
        config ([`InverseDynamicsConfig`]):
            Of the model.
        measured (`Mapping[str, Any]`):
            What [`~rlvr_world_hf.training.inverse_training.measure_inverse_model`] found on held-out episodes.
        world (`str`):
            Name of the world.
        data (`str`):
            Markdown on what it was trained on.

    Returns:
        `str`: Markdown with a YAML head.

    Example:

    ```python
    >>> measured = {"error": 4.0, "guess_error": 80.0, "errors": [4.0], "pairs": 9}
    >>> card = inverse_card(InverseDynamicsConfig(), measured, world="PushT", data="Recorded episodes.")
    >>> "**4**" in card and "has 80" in card
    True

    ```
    """
    metadata = ModelCardData(license="apache-2.0", library_name="rlvr_world_hf", tags=[*TAGS])
    pace = f" {1 / config.fps:g} s apart" if config.fps else ""
    one = config.given_frames == 1
    shown, between = (
        ("two", "the one to the other") if one else (config.given_frames + 1, "the last but one to the last")
    )
    law = f", by the {config.action_law} law" if config.action_law else ""
    reads = f"the probability of {config.action_bins} bins of each of them" if config.action_bins else "them"
    likely = f", log-probability {measured['log_probability']:.3f} nats" if "log_probability" in measured else ""
    return str(
        ModelCard(
            f"""---
{metadata.to_yaml()}
---

# Inverse dynamics model of {world}

Given {shown} frames of {config.image_size}x{config.image_size} pixels{pace}, it reads the {config.action_dims} numbers
of the action that led from {between}{law}: {reads}. It was trained on frames that a visual tokenizer has
encoded and decoded, as a world model shows them, and serves as a reward that asks whether a prediction follows its
action, after [RLIR](https://huggingface.co/papers/2509.23958).

```python
from rlvr_world_hf.rewards import ActionRecoveryReward

reward = ActionRecoveryReward("FOLDER")  # this folder, a run's, or a world model saved with it
```

## How well it reads

Mean absolute error on {measured["pairs"]} held-out pairs, in the unit of the data:
**{measured["error"]:.3g}**{likely}; the median action, guessed without looking, has {measured["guess_error"]:.3g}.
Of each dimension: {", ".join(f"{error:.3g}" for error in measured["errors"])}.

## Data

{data}

## Limits

It knows the frames of one world and one tokenizer. Elsewhere, and on frames that were made to please it, it may be
wrong without a sign: judge a world model that was trained with it by another inverse model.
""",
            ignore_metadata_errors=False,
        )
    )
