"""
The README of a checkpoint: metadata the Hub reads, code that runs, recipe, measured table, limits.

A card is generated, never edited: its numbers come from `results.json` alone; where nothing was measured it says so.
Its form is `model_card_template.md` beside this file; what goes into it is said here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml

from .terms import Terms


# Beside this file, as it ships in the wheel.
TEMPLATE = Path(__file__).with_name("model_card_template.md")
PAPER = "https://arxiv.org/abs/2505.13934"
TAGS = ("world-model", "rlvr", "grpo", "reinforcement-learning")
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
SENSOR_LIMITS = (
    "It predicts what its training data show: one world, one time interval, states and actions within the recorded "
    "ranges. Beyond them, values fall into the outermost bins.",
    *LIMITS[1:],
)

TEXT_LIMITS = (
    "It predicts what its training data show: one kind of game or page, in the form of text that its prompts have.",
    "It is small and was trained from scratch, unless the recipe names a model it starts from: it knows nothing else.",
    "A prediction is one sample of what may happen; where the table says so, it is more often wrong than right.",
)
STEP_ROWS = (
    "`copy_last` repeats the last given state; `tokenizer_floor` decodes the true codes or bins, so it bounds "
    "what a model over these tokens can reach; `base` was trained by likelihood, `control` by likelihood for as "
    "much longer as RL took; `_best_sampling` has temperature and top-k chosen on validation episodes."
)
FURTHER_ROWS = {
    "nearest": "`nearest` is no model: the change that the nearest state in the training data went through under the "
    "same action.",
    "few_shot": "`few_shot` is the language model as it was installed, with examples in its prompt.",
    "_reasons_given": "`_reasons_given`, `_reasons_swapped` and `_reasons_removed` answer after a reason that they "
    "have not written: the true one, that of another transition, or none.",
    "law": "`law` is drawn from the law of the world itself, which no model is told.",
    "control_equal_prompts": "`control_equal_prompts` was trained on by likelihood for as many examples, prompts with "
    "their answers, as RL drew prompts.",
}
"""What further rows of a table are, where it has them; of those that end so, if it begins with an underscore."""
TEXT_ROWS = (
    "`nothing_changes` answers that nothing changes, whatever the action; `oracle` gives the recorded answer; `base` "
    "was trained on recorded answers, `control` for as much longer as RL took; `_best_sampling` has its temperature "
    "chosen on validation transitions. `_changed` and `_unchanged` measure apart transitions that change something "
    "and such as do not."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSubject:
    """
    What a card is of.

    Example:

    ```python
    >>> CardSubject(name="rlvr-world-pusht", horizon=4, world="PushT", data="Recorded episodes.").tags
    ()

    ```
    """

    name: str
    """Title."""

    horizon: int
    """Steps that the example predicts: those of the recipe."""

    world: str
    """What it is a model of."""

    data: str
    """Markdown on what it was trained on."""

    repo_id: str | None = None
    """Hub repository, or folder, that the example loads; `name` by default."""

    base_model: str | None = None
    """Repository of the checkpoint that RL started from."""

    datasets: Sequence[str] = ()
    """Datasets on the Hub, for the metadata."""

    tags: Sequence[str] = ()
    """Further tags, for the metadata."""

    pipeline_tag: str | None = None
    """Task, as the Hub names it; that of [`KINDS`] by default."""

    limits: Sequence[str] = ()
    """What not to expect of it; `LIMITS`, `SENSOR_LIMITS` or `TEXT_LIMITS` by default."""

    terms: Terms | None = None
    """Terms of the weights that it was made from, where these come with any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardResults:
    """
    What was measured of a checkpoint.

    Raises:
        `ValueError`: If `row` is not among the results.

    Example:

    ```python
    >>> results = {"rows": {"rlvr": {"mae": {"mean": 0.5}}}, "versions": {"python": "3.11", "torch": "2.9"}}
    >>> measured = CardResults(results=results, table="| row | mae |")
    >>> list(measured.metrics), measured.versions
    (['mae'], 'python 3.11, torch 2.9')

    ```
    """

    results: Mapping[str, Any]
    """A `results.json` record; goes into the metadata as model-index."""

    table: str
    """Its Markdown table, or tables."""

    row: str = "rlvr"
    """Row of the results that is this checkpoint."""

    def __post_init__(self) -> None:
        if self.row not in self.results["rows"]:
            raise ValueError(
                f"The results have no row {self.row!r} for this checkpoint; they have {list(self.results['rows'])}."
            )

    @property
    def metrics(self) -> Mapping[str, Mapping[str, Any]]:
        """Summaries of this checkpoint by metric."""
        return self.results["rows"][self.row]

    @property
    def versions(self) -> str:
        """What it was measured with."""
        return ", ".join(map(" ".join, self.results["versions"].items()))


def card_text(
    processor: Any,
    subject: CardSubject,
    *,
    measured: CardResults | None = None,
    recipe: Mapping[str, Any] | None = None,
    recipe_title: str = "The complete recipe",
    picture: str | None = None,
    curves: str | None = None,
    examples: str | None = None,
) -> str:
    """
    Write the README of a world model.

    Args:
        processor (`WorldModelProcessor`):
            Its processor: sizes, layout and action ranges in text and example.
        subject ([`CardSubject`]):
            What the card is of.
        measured ([`CardResults`], *optional*):
            Its numbers. Without them, the card says that nothing was measured yet.
        recipe (`Mapping`, *optional*):
            The complete recipe, shown as YAML.
        recipe_title (`str`, *optional*, defaults to `"The complete recipe"`):
            What the recipe is called, where it is not the complete one.
        picture (`str`, *optional*):
            File beside the card with reference and predictions, as in `strip.png`.
        curves (`str`, *optional*):
            File beside the card with learning curves of base, control and RL.
        examples (`str`, *optional*):
            Markdown with predictions of a world of text.

    Returns:
        `str`: Markdown with a YAML head; `huggingface_hub.ModelCard` reads it.

    Example:

    ```python
    >>> from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [512.0, 512.0])
    >>> subject = CardSubject(name="rlvr-world-pusht", horizon=4, world="PushT", data="Recorded episodes.")
    >>> "Not evaluated yet" in card_text(processor, subject)
    True

    ```
    """
    kind = KINDS[processor.predicts[0]]
    pipeline_tag = subject.pipeline_tag or kind.pipeline_tag
    steps = "Single" if subject.horizon == 1 else "Multi"
    task = kind.task or f"{steps}-step {kind.states} prediction"
    evaluated: dict[str, Any] = {}
    if measured is not None:
        eval_results = _eval_results(measured, tag=pipeline_tag, task=task, world=subject.world)
        evaluated = {"metrics": list(measured.metrics), "model_name": subject.name, "eval_results": eval_results}
    metadata = ModelCardData(
        license="apache-2.0" if subject.terms is None else subject.terms.licence,
        library_name="rlvr_world_hf",
        pipeline_tag=pipeline_tag,
        # Each tag once: the trainer hands over TRL's own, some of which stand in `TAGS`.
        tags=list(dict.fromkeys([*TAGS, *kind.tags, _tag(subject.world), *subject.tags])),
        datasets=list(subject.datasets) or None,
        base_model=subject.base_model,
        **evaluated,
    )
    card = ModelCard.from_template(
        metadata,
        template_path=str(TEMPLATE),
        name=subject.name,
        summary=kind.summary(processor, subject.world),
        code=kind.use(processor, subject.repo_id or subject.name, subject.horizon),
        recipe=None if recipe is None else _yaml(dict(recipe)),
        recipe_title=recipe_title,
        machine=measured.results["machine"] if measured else None,
        measured_with=measured.versions if measured else None,
        rows=" ".join([kind.rows, *_further_rows(measured)]),
        table=measured.table.strip() if measured else None,
        not_evaluated=NOT_EVALUATED,
        picture=picture,
        curves=curves,
        examples=examples.strip() if examples else None,
        limits=subject.limits or kind.limits,
        data=subject.data,
        terms=None if subject.terms is None else subject.terms.notice,
        paper=PAPER,
        citation=CITATION,
    )
    return f"{card.content.rstrip()}\n"


def eval_results_text(
    results: Mapping[str, Any], *, dataset: str, row: str = "rlvr", metrics: Sequence[str] | None = None
) -> str:
    """
    Write what stands in `.eval_results/<name>.yaml` of a model repository: its numbers on a dataset of the Hub, which
    shows them beside those of other models where the dataset is a benchmark.

    Args:
        results (`Mapping`):
            A `results.json` record.
        dataset (`str`):
            Dataset on the Hub that was measured on, as in `owner/name`.
        row (`str`, *optional*, defaults to `"rlvr"`):
            Row of the results that is this checkpoint.
        metrics (`Sequence[str]`, *optional*):
            Metrics to give, each as a task of the dataset. Defaults to those that were rewarded and measured.

    Returns:
        `str`: YAML, one entry a metric: its mean; spread, recipe and commit are in the notes.

    Raises:
        `ValueError`: If the dataset is no name on the Hub, or the row or a metric is not among the results.

    Example:

    ```python
    >>> summary = {"mean": 0.5, "std": 0.125, "values": [0.375, 0.625]}
    >>> record = {"recipe": "webarena/grpo", "commit": "a32b47", "rewarded": ["page_change_f1"], "samples": 8}
    >>> record |= {"training_seeds": [0, 1], "rows": {"rlvr": {"page_change_f1": summary}}}
    >>> print(eval_results_text(record, dataset="owner/pages"))
    - dataset:
        id: owner/pages
        task_id: page_change_f1
      value: 0.5
      notes: row rlvr, standard deviation 0.125, training seeds 0, 1, 8 samples, recipe webarena/grpo, commit a32b47
    <BLANKLINE>

    ```
    """
    if dataset.count("/") != 1 or not all(dataset.split("/")):
        raise ValueError(f"Expected the name of a dataset on the Hub, `owner/name`, got {dataset!r}; push it first.")
    measured = results["rows"].get(row, {})
    wanted = [metric for metric in results["rewarded"] if metric in measured] if metrics is None else list(metrics)
    missing = [metric for metric in wanted if metric not in measured]
    if missing or not wanted:
        raise ValueError(
            f"The results have no {missing or 'metric'} in row {row!r}; they have the rows {list(results['rows'])}, "
            f"and in this one {list(measured)}."
        )
    # The Hub's form has a value and no spread, so that, and what it is of, go into the notes.
    seeds = ", ".join(map(str, results["training_seeds"]))
    about = f"training seeds {seeds}, {results['samples']} samples, recipe {results['recipe']}"
    entries = [
        EvalResultEntry(
            dataset_id=dataset,
            task_id=metric,
            value=measured[metric]["mean"],
            notes=f"row {row}, standard deviation {measured[metric]['std']:.3g}, {about}, commit {results['commit']}",
        )
        for metric in wanted
    ]
    return _yaml(eval_result_entries_to_yaml(entries)) + "\n"


def _further_rows(measured: CardResults | None) -> list[str]:
    rows = [] if measured is None else [*measured.results["rows"]]
    return [
        told
        for name, told in FURTHER_ROWS.items()
        if name in rows or (name.startswith("_") and any(row.endswith(name) for row in rows))
    ]


def _summary(processor: Any, world: str) -> str:
    layout, has_frames = processor.layout, "frames" in processor.predicts
    pace = f" at {processor.fps:g} {'frames' if has_frames else 'steps'} a second" if processor.fps else ""
    counts = {"context frame": layout.context_frames, "observed step": layout.observed_steps}
    given = " and ".join(_count(number, thing) for thing, number in counts.items() if number)
    height, width = processor.codec.config.image_size if has_frames else (0, 0)
    sizes = [f"{height}x{width} pixels"] if has_frames else []
    sizes += [_count(layout.sensor_dims, "sensor")] if layout.sensor_dims else []
    states, step = ("frames", "frame") if has_frames else ("states", "step")
    return (
        f"An action-conditioned {'video ' if has_frames else ''}world model of {world}: given {given} "
        f"of {' and '.join(sizes)}{pace} and the actions to come, it predicts the {states} that follow. A "
        f"transformer over {layout.vocabulary_size} tokens writes {layout.predicted_length} of them a {step}. It was "
        "trained by likelihood, then by reinforcement learning with verifiable rewards: prediction metrics on decoded "
        f"{states} are the reward, as in [RLVR-World]({PAPER})."
    )


def _use(processor: Any, repo_id: str, horizon: int) -> str:
    layout = processor.layout
    given = layout.context_frames + layout.observed_steps
    # An action leads from one given state to the next: of a single one, actions begin at it.
    since = "first observed step" if layout.observed_steps > 1 else "last given frame"
    inputs, states, shapes = [], [], {}
    if "frames" in processor.predicts:
        height, width = processor.codec.config.image_size
        size = f"({given}, {height}, {width}, 3)"
        inputs += [f"frames = np.full({size}, 255, dtype=np.uint8)  # your frames, oldest first, RGB"]
        states += ["frames"]
        shapes["predicted"] = f"(4, {horizon}, 3, {height}, {width}), float in [0, 1]"
    if "sensors" in processor.predicts:
        middle = _middle(processor.state_low, processor.state_high)
        inputs += [f"states = np.tile({middle}, ({given}, 1))  # your sensors, oldest first, in the unit of the data"]
        states += ["states"]
        shapes["predicted_states" if shapes else "predicted"] = f"(4, {horizon}, {layout.sensor_dims})"
    inputs += [
        f"actions = {_repeated(_middle(processor.action_low, processor.action_high), layout.prompt_actions + horizon)}"
        f"  # your actions, from the {since} on"
    ]
    beside = ", states=states" if len(states) > 1 else ""
    shown = "; ".join(f"{name} {shape}" if beside else shape for name, shape in shapes.items())
    return f"""import numpy as np
from rlvr_world_hf import WorldModelPipeline

pipeline = WorldModelPipeline.from_pretrained("{repo_id}")
{chr(10).join(inputs)}
predicted = pipeline({states[0]}, actions{beside}, num_samples=4)  # {shown}"""


def _repeated(values: list[float], count: int) -> str:
    """Code of an array of so many lines of values; short where many are alike."""
    if len(values) > 2 and len({*values}) == 1:
        return f"np.full(({count}, {len(values)}), {values[0]})"
    return f"np.tile({values}, ({count}, 1))"


def _middle(low: Sequence[float], high: Sequence[float]) -> list[float]:
    return [(least + most) / 2 for least, most in zip(low, high, strict=True)]


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110).strip()


def _text_summary(processor: Any, world: str) -> str:
    return (
        f"A language world model of {world}: given a state and an action in text, it writes what changes. A "
        f"transformer over {len(processor.tokenizer)} tokens, trained on recorded answers, then by reinforcement "
        "learning with verifiable rewards: what an answer says is compared with the recorded change, as in "
        f"[RLVR-World]({PAPER})."
    )


def _text_use(processor: Any, repo_id: str, horizon: int) -> str:
    whole_prompt = (
        '[{"role": "user", "content": "your prompt"}]' if processor.tokenizer.chat_template else '"your prompt"'
    )
    inputs = '"your state", "your action"' if processor.prompt_template else whole_prompt
    return f"""from rlvr_world_hf import WorldModelPipeline

pipeline = WorldModelPipeline.from_pretrained("{repo_id}")
answers = pipeline({inputs}, num_samples=4)  # 4 texts that say what changes"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a card speaks of one kind of state."""

    states: str
    """What is predicted, in the name of the task."""
    task: str
    """Name of the task, where it does not depend on the horizon."""
    pipeline_tag: str
    """Task, as the Hub names it."""
    tags: tuple[str, ...]
    """Further tags."""
    limits: tuple[str, ...]
    """What not to expect."""
    rows: str
    """What the rows of the table are."""
    summary: Callable[[Any, str], str]
    """Writes the first paragraph, of processor and world."""
    use: Callable[[Any, str, int], str]
    """Writes the example, of processor, repository and horizon."""


KINDS = {
    "frames": Kind(
        states="video", task="", pipeline_tag="image-to-video", tags=("robotics", "video-prediction"), limits=LIMITS,
        rows=STEP_ROWS, summary=_summary, use=_use,
    ),
    "sensors": Kind(
        states="state", task="", pipeline_tag="time-series-forecasting", tags=("robotics",), limits=SENSOR_LIMITS,
        rows=STEP_ROWS, summary=_summary, use=_use,
    ),
    "text": Kind(
        states="state", task="State prediction", pipeline_tag="text-generation", tags=(),
        limits=TEXT_LIMITS, rows=TEXT_ROWS, summary=_text_summary, use=_text_use,
    ),
}  # fmt: skip
"""By what a processor predicts first."""


def _eval_results(measured: CardResults, *, tag: str, task: str, world: str) -> list[EvalResult]:
    return [
        EvalResult(
            task_type=tag,
            task_name=task,
            dataset_type=_tag(world),
            dataset_name=f"{world}, held-out episodes",
            dataset_split="test",
            metric_type=metric,
            metric_name=metric,
            metric_value=summary["mean"],
        )
        for metric, summary in measured.metrics.items()
    ]


def _tag(world: str) -> str:
    return world.lower().replace(" ", "-")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
