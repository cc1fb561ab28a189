"""
The README of a checkpoint: metadata the Hub reads, code that runs, recipe, measured table, limits.

A card is generated, never edited: its numbers come from `results.json` alone; where nothing was measured it says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData


PAPER = "https://arxiv.org/abs/2505.13934"
TAGS = ("world-model", "rlvr", "grpo", "video-prediction", "robotics", "reinforcement-learning")
NOT_EVALUATED = "Not evaluated yet: `rlvr-world evaluate RECIPE` measures it."
CITATION = """@article{wu2025rlvrworld,
  title   = {RLVR-World: Training World Models with Reinforcement Learning},
  author  = {Wu, Jialong and Yin, Shaofeng and Feng, Ningya and Long, Mingsheng},
  journal = {arXiv preprint arXiv:2505.13934},
  year    = {2025}
}"""
LIMITS = (
    "It predicts what its training data shows: one world, one camera, one frame interval, actions within the recorded "
    "ranges. Elsewhere its frames may look right and be wrong.",
    "Errors add up over the horizon; beyond the horizon of the recipe nothing was measured.",
    "A prediction is one sample of what may happen. Do not take it for a safety check of a real robot.",
)


def card_text(
    processor: Any,
    *,
    name: str,
    horizon: int,
    repo_id: str | None = None,
    results: Mapping[str, Any] | None = None,
    table: str | None = None,
    recipe: Mapping[str, Any] | None = None,
    row: str = "rlvr",
    world: str = "PushT",
    data: str = "Episodes of [gym-pusht](https://github.com/huggingface/gym-pusht), recorded with a scripted policy.",
    datasets: Sequence[str] | None = None,
    base_model: str | None = None,
    picture: str | None = None,
    limits: Sequence[str] = LIMITS,
    pipeline_tag: str = "image-to-video",
) -> str:
    """
    Write the README of a video world model.

    Args:
        processor (`VideoWorldModelProcessor`):
            Its processor: sizes, layout and action ranges in text and example.
        name (`str`):
            Title.
        horizon (`int`):
            Steps that the example predicts: those of the recipe.
        repo_id (`str`, *optional*):
            Hub repository, or folder, that the example loads. Defaults to `name`.
        results (`Mapping`, *optional*):
            A `results.json` record; goes into the metadata as model-index.
        table (`str`, *optional*):
            Its Markdown table. Without both, the card says that nothing was measured yet.
        recipe (`Mapping`, *optional*):
            The complete recipe, shown as YAML.
        row (`str`, *optional*, defaults to `"rlvr"`):
            Row of the results that is this checkpoint.
        world (`str`, *optional*, defaults to `"PushT"`):
            What it is a model of.
        data (`str`, *optional*):
            Markdown on what it was trained on.
        datasets (`Sequence[str]`, *optional*):
            Datasets on the Hub, for the metadata.
        base_model (`str`, *optional*):
            Repository of the checkpoint that RL started from.
        picture (`str`, *optional*):
            File beside the card with reference and predictions, as in `strip.png`.
        limits (`Sequence[str]`, *optional*):
            What not to expect of it.
        pipeline_tag (`str`, *optional*, defaults to `"image-to-video"`):
            Task, as the Hub names it.

    Returns:
        `str`: Markdown with a YAML head.

    Raises:
        `ValueError`: If only one of `results` and `table` is given, or `row` is not among the results.

    Example:

    ```python
    >>> from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [512.0, 512.0])
    >>> text = card_text(processor, name="rlvr-world-pusht", horizon=4)
    >>> "Not evaluated yet" in text
    True

    ```
    """
    if (results is None) != (table is None):
        raise ValueError("`results` and `table` belong together: give both, or neither for a card without numbers.")
    if results is not None and row not in results["rows"]:
        raise ValueError(f"The results have no row {row!r} for this checkpoint; they have {list(results['rows'])}.")
    metadata = ModelCardData(
        license="apache-2.0",
        library_name="rlvr_world_hf",
        pipeline_tag=pipeline_tag,
        tags=[*TAGS, world.lower()],
        datasets=list(datasets) if datasets else None,
        base_model=base_model,
        metrics=list(results["rows"][row]) if results else None,
        model_name=name if results else None,
        eval_results=_eval_results(results, row, task=pipeline_tag, world=world, horizon=horizon) if results else None,
    )
    sections = {
        "How to use": _use(processor, repo_id or name, horizon),
        "How it was trained": _training(recipe),
        "Results": _results(table, picture),
        "Limits": "\n".join(f"- {limit}" for limit in limits),
        "Data": data,
        "Citation": f"The method is that of [RLVR-World]({PAPER}):\n\n```bibtex\n{CITATION}\n```",
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"---\n{metadata.to_yaml()}\n---\n\n# {name}\n\n{_summary(processor, world)}\n\n{body}\n"


def _summary(processor: Any, world: str) -> str:
    layout = processor.layout
    height, width = processor.codec.config.image_size
    pace = f" at {processor.fps:g} frames a second" if processor.fps else ""
    counts = {"context frame": layout.context_frames, "observed step": layout.observed_steps}
    given = " and ".join(_count(number, thing) for thing, number in counts.items() if number)
    return (
        f"An action-conditioned video world model of {world}: given {given} "
        f"of {height}x{width} pixels{pace} and the actions to come, it predicts the frames that follow. A "
        f"transformer over {layout.vocabulary_size} tokens writes {layout.dynamics_length} of them a frame. It was "
        "trained by likelihood, then by reinforcement learning with verifiable rewards: prediction metrics on decoded "
        f"frames are the reward, as in [RLVR-World]({PAPER})."
    )


def _use(processor: Any, repo_id: str, horizon: int) -> str:
    layout = processor.layout
    height, width = processor.codec.config.image_size
    given = layout.context_frames + layout.observed_steps
    since = "first observed step" if layout.observed_steps > 1 else "last given frame"
    middle = [(low + high) / 2 for low, high in zip(processor.action_low, processor.action_high, strict=True)]
    return f"""With `rlvr_world_hf` installed:

```python
import numpy as np
from rlvr_world_hf import WorldModelPipeline

pipeline = WorldModelPipeline.from_pretrained("{repo_id}")
frames = np.full(({given}, {height}, {width}, 3), 255, dtype=np.uint8)  # your frames, oldest first, RGB
actions = np.tile({middle}, ({layout.prompt_actions + horizon}, 1))  # your actions, from the {since} on
predicted = pipeline(frames, actions, num_samples=4)  # (4, {horizon}, 3, {height}, {width}), float in [0, 1]
```"""


def _training(recipe: Mapping[str, Any] | None) -> str:
    if recipe is None:
        return "With a recipe that was not recorded."
    text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=110)
    return f"<details><summary>The complete recipe</summary>\n\n```yaml\n{text}```\n\n</details>"


def _results(table: str | None, picture: str | None) -> str:
    if table is None:
        return NOT_EVALUATED
    rows = (
        "`copy_last` repeats the last given frame; `tokenizer_floor` decodes the true codes, so it bounds what a "
        "model over these tokens can reach; `base` was trained by likelihood, `control` by likelihood for as much "
        "longer as RL took; `_best_sampling` has temperature and top-k chosen on validation episodes."
    )
    shown = f"\n\n![Reference, predictions and their errors over time]({picture})" if picture else ""
    return f"{rows}\n\n{table.strip()}{shown}"


def _eval_results(results: Mapping[str, Any], row: str, *, task: str, world: str, horizon: int) -> list[EvalResult]:
    return [
        EvalResult(
            task_type=task,
            task_name=f"{'Single' if horizon == 1 else 'Multi'}-step video prediction",
            dataset_type=world.lower(),
            dataset_name=f"{world}, held-out episodes",
            dataset_split="test",
            metric_type=metric,
            metric_name=metric,
            metric_value=summary["mean"],
        )
        for metric, summary in results["rows"][row].items()
    ]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
