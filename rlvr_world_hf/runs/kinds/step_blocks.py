"""Worlds whose states have fixed positions: frames as codes, sensors as bins, or both, written as step blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import torch
from tqdm.auto import tqdm

from ...data import Episode, load_episodes, save_episodes, window_rows
from ...data.folder import UnusableEpisodesError
from ...data.rows import EpisodeWriter, split_names
from ...evaluation import evaluate_tokenizer
from ...evaluation.comparison import evaluate as compare
from ...evaluation.comparison import measure_checkpoint
from ...evaluation.conditions import beside
from ...evaluation.distinct import distinct_metrics
from ...evaluation.figures import sensor_lines, strip
from ...evaluation.metrics import metrics_of_processor
from ...evaluation.predictions import Sampling, predict_checkpoint, row_batches
from ...evaluation.results import Results, write_results
from ...evaluation.sharing import ALONE, Share
from ...hub import load_world_model
from ...hub.checkpoint import choose_attention
from ...processors.base import state_columns
from ...processors.layout import TokenLayout
from ...processors.sensor import SensorWorldModelProcessor
from ...processors.step_blocks import StepBlockProcessor
from ...processors.video import VideoWorldModelProcessor
from ..codec import BUNDLED, NONE, SCRATCH, codec_place, find_place, load_codec, take_weights, weights_identity
from ..content import checkpoint_identity
from ..locations import bundled_path
from ..named_parts import build_metrics, build_part, named_setting
from ..places import check_codec, check_world_model
from ..precision import use_bfloat16
from ..processes import Processes
from ..progress import cached, fingerprint, read_json
from ..recipe import Recipe
from ..stage import StageRun, find_stage, stage_folder
from ..world import check_law, is_recorded, processor_settings, world_source
from .kind import SPLITS, LikelihoodParts, WorldKind, evenly


TOKENS_REVISION = 1
"""Raised when the same rows become other tokens."""

NO_SENSOR_BINS = (
    "pretrain.sensor_bins: expected a number of bins, as without a tokenizer the sensors are all there is to predict, "
    "got {}; give one such as 256."
)
"""What is said of a world of sensors without bins."""

MEASURED_WINDOWS = 512
"""Validation windows on which a trained codec is measured; all if there are fewer."""


class StepBlockKind(WorldKind):
    """
    Worlds of episodes, see [`WorldKind`].

    Example:

    ```python
    >>> from rlvr_world_hf.runs.recipe import load_recipe
    >>> StepBlockKind(load_recipe("pusht/quickstart")).needs()  # one context frame, one observed, four to predict
    {'min_frames': 6}

    ```
    """

    fixed_length = True

    def states(self) -> tuple[str, ...]:
        """Those of the codec and the sensors of the recipe; or, if it starts from a world model, of that model."""
        pretrain = self.settings("pretrain")
        if pretrain.start_from:
            place = self._bundled_base() if pretrain.start_from == BUNDLED else find_place(pretrain.start_from)
            saved = read_json(Path(place) / "processor_config.json")
            if not saved:  # on the Hub: it may predict either
                return ("frames", "sensors")
            has_frames, has_sensors = bool(saved.get("codec")), bool(saved.get("layout", {}).get("sensor_dims"))
        else:
            has_frames, has_sensors = self.settings("tokenizer").source != NONE, bool(pretrain.sensor_bins)
        return ("frames",) * has_frames + ("sensors",) * (has_sensors or not has_frames)

    def measured(self, rewards: Sequence[Any], metrics: Sequence[Any]) -> list[Any]:
        """See [`metrics_of_processor`]."""
        # Which metrics there are does not depend on the ranges of sensors, known after collecting only.
        like = SimpleNamespace(predicts=self.states(), state_low=[0.0], state_high=[1.0])
        return distinct_metrics([*self._metrics(like, rewards, metrics), *rewards])

    def try_tokenizer(self, settings: Any) -> None:
        """The config of the training, the codec and the augmentation."""
        if settings.source == SCRATCH:
            refusal = "TokenizerTrainingConfig refuses the settings"
            with named_setting("tokenizer", refusal, "Change the key that is meant."):
                self.tokenizer_training(settings, Processes().device).check_files()
            with torch.random.fork_rng():
                self.new_codec(settings, on_meta=True)
            if settings.start_from is not None:
                check_codec(settings.start_from, where="tokenizer.start_from")
        elif settings.source not in (BUNDLED, NONE):
            check_codec(settings.source, where="tokenizer.source")
        self.augmentation()

    def try_start(self, settings: Any) -> None:
        """A fresh policy of a few ids: its sizes do not depend on their number."""
        from ...training.pretraining import build_policy

        if settings.start_from:
            if settings.start_from != BUNDLED:
                check_world_model(settings.start_from, where="pretrain.start_from")
            place = self._bundled_base() if settings.start_from == BUNDLED else find_place(settings.start_from)
            # That of a Hub repository is checked once it is here.
            if saved := read_json(Path(place) / "processor_config.json"):
                self._check_law(saved.get("action_law"), place)
        else:
            windows, states = self.recipe.windows, self.states()
            frames, contexts = int("frames" in states), int(windows.context_frames > 0)
            if "sensors" in states and settings.sensor_bins < 1:
                raise ValueError(NO_SENSOR_BINS.format(settings.sensor_bins))
            refusal = "a policy of these sizes cannot be built"
            with named_setting("pretrain", refusal, "Change the size that is meant."), torch.device("meta"):
                layout = TokenLayout(
                    context_codebook_size=frames * contexts,
                    dynamics_codebook_size=frames,
                    context_grid=(frames * contexts, frames * contexts),
                    dynamics_grid=(frames, frames),
                    action_bins=settings.action_bins,
                    action_dims=1,
                    context_frames=windows.context_frames if frames else 0,
                    observed_steps=windows.observed_steps,
                    sensor_dims=int("sensors" in states),
                    sensor_bins=settings.sensor_bins,
                )
                build_policy(layout, **settings.policy_sizes(), seed=self.recipe.seed)

    def training_settings(self) -> Mapping[str, Any]:
        """None."""
        return {}

    def needs(self) -> dict[str, Any]:
        """Episodes must be long enough for a window."""
        windows = self.recipe.windows
        return {"min_frames": windows.context_frames + windows.observed_steps + windows.horizon}

    def contents(self) -> Any:
        """See [`WorldKind.contents`]."""
        recorded = self.recorded()
        # The windows are not in the fingerprint of collect, but decide which episodes are long enough.
        return None if recorded is None else [recorded.min_frames, recorded.contents()]

    def load(self, folder: Path) -> Sequence[Episode]:
        """Episodes."""
        return load_episodes(folder)

    def cut(self, stored: Sequence[Episode], split: str) -> datasets.Dataset:
        """Windows; those of training are augmented if the recipe asks for it."""
        changed = self.augmentation() if split == "train" else None
        return window_rows(stored, **dataclasses.asdict(self.recipe.windows) | {"augmentation": changed})

    def augmentation(self) -> Any:
        """The augmentation of training frames; `None` without one."""
        entry = self.recipe.windows.augmentation
        return entry and build_part(entry, where="windows.augmentation", example="rlvr_world_hf.data.ClipAugmentation")

    def write_recorded(self, recorded: Any, folder: Path) -> None:
        """Stream episodes into splits, which are drawn by their names before any is read."""
        # Without any names, reading raises an error that says what the folder holds instead.
        names = recorded.names() or [episode.episode_id for episode in recorded.read()]
        split_of = _split(names, self.settings("collect"))
        with ExitStack() as stack:
            writers = {split: stack.enter_context(EpisodeWriter(folder / split)) for split in SPLITS}
            for episode in tqdm(recorded.stream(), desc="collect", unit="episode", total=len(split_of)):
                if episode.episode_id in split_of:
                    writers[split_of[episode.episode_id]].write(episode)

    def record(self, seeds: Mapping[str, Sequence[int]], folder: Path) -> None:
        """Record all splits as one stream, so that no process waits at the end of a split."""
        settings = self.settings("collect")
        every = [seed for split_seeds in seeds.values() for seed in split_seeds]
        record = world_source(self.recipe)
        episodes = iter(record(every, processes=settings.processes, **settings.arguments))
        with tqdm(total=len(every), desc="collect", unit="episode") as bar:
            for split, split_seeds in seeds.items():
                save_episodes(_counted(islice(episodes, len(split_seeds)), bar), folder / split)

    def tokenizer_keys(self) -> Callable[..., Any]:
        """`TokenizerTrainingConfig`."""
        from ...training.tokenizer_training import TokenizerTrainingConfig

        return TokenizerTrainingConfig

    def tokenizer_source(self) -> str:
        """The weights of the codec, or of the one from which its training starts."""
        settings = self.settings("tokenizer")
        if settings.source == NONE:
            return NONE
        if settings.source != SCRATCH:
            return checkpoint_identity(codec_place(self.recipe, settings.source))
        # A codec to be trained has no weights yet: its settings and episodes identify it.
        return SCRATCH if settings.start_from is None else f"{SCRATCH} from {checkpoint_identity(settings.start_from)}"

    def train_tokenizer(self, run: StageRun) -> list[Path]:
        """Train a codec and measure what it loses, with `--tokenizer scratch`."""
        recipe, settings = self.recipe, run.settings
        if settings.source != SCRATCH:
            return []
        from ...training.tokenizer_training import train_tokenizer

        # Layers draw their weights from torch's global generator, which stays as it was.
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            codec = self.new_codec(settings)
        if settings.start_from is not None:
            take_weights(codec, settings.start_from)
        train_tokenizer(
            codec.to(run.processes.device),
            self.stored("train"),
            self.stored("validation"),
            output_dir=run.folder,
            args=self.tokenizer_training(settings, run.processes.device),
            augmentation=self.augmentation(),
        )
        if not run.processes.is_first:
            return []
        folder = run.folder / "codec"
        codec.save_pretrained(folder)
        self.write_codec_results()
        return [folder]

    def new_codec(self, settings: Any, *, on_meta: bool = False) -> Any:
        """The codec to train, with random weights; on the device meta without any, where its class can be there."""
        build = partial(
            build_part, settings.codec, where="tokenizer.codec", example="rlvr_world_hf.CompressiveTokenizer"
        )
        if not on_meta:
            return build()
        try:
            with torch.device("meta"):
                return build()
        except ValueError:
            return build()  # a class of one's own may need numbers; if not, this raises the same

    def tokenizer_training(self, settings: Any, device: Any) -> Any:
        """The `TokenizerTrainingConfig` of the recipe for a `torch.device`."""
        bf16 = use_bfloat16(settings.bf16, device)
        # A recipe may train its codec on clips of another length.
        clips = {"horizon": self.recipe.windows.horizon, **settings.arguments}
        return self.tokenizer_keys()(seed=self.recipe.seed, bf16=bf16, **clips)

    def write_codec_results(self) -> Path:
        """Measure the codec trained in the run on its validation episodes, and write `results.json` beside it."""
        processor = self.build_processor()
        own = build_metrics(self.settings("tokenizer").metrics, where="tokenizer.metrics")
        results = evaluate_tokenizer(
            processor,
            self.rows("validation", count=MEASURED_WINDOWS),
            recipe=self.recipe.name,
            training_seed=self.recipe.seed,
            metrics=[*metrics_of_processor(processor), *own],
        )
        return write_results(results, stage_folder(self.recipe, "tokenizer") / "codec" / "results.json")

    def likelihood_arguments(self) -> Callable[..., Any]:
        """`transformers.TrainingArguments`."""
        from transformers import TrainingArguments

        return TrainingArguments

    def start_identity(self) -> str | None:
        """The weights that training starts from, if it starts from any."""
        place = self._start_place()
        return None if place is None else checkpoint_identity(place)

    def start(self, run: StageRun) -> tuple[StepBlockProcessor, Any]:
        """A fresh policy, or the world model that the recipe starts from."""
        from ...training.pretraining import build_policy
        from ...training.structured_embeddings import structure_embeddings

        settings, device, place = run.settings, run.processes.device, self._start_place()
        if place is None:
            processor = self.build_processor().to(device)
            model = build_policy(processor.layout, **settings.policy_sizes(), seed=self.recipe.seed)
            if settings.structured_start:
                structure_embeddings(model, processor, seed=self.recipe.seed)
            return processor, choose_attention(model, device)
        # Bundled weights are bfloat16, in which small updates would be lost.
        model, processor = load_world_model(place, device=device, dtype=torch.float32)
        self._check_law(processor.action_law, place)
        return processor, choose_attention(model)

    def restart(self, model: Any, processor: Any) -> Any:
        """The saved base."""
        return model

    def likelihood_parts(self, run: StageRun, model: Any, processor: Any, settings: Any) -> LikelihoodParts:
        """The policy and cached tokens of the rows; with a range head if the recipe restricts log-probabilities."""
        from ...rollouts.head import RangeHead
        from ...training import pretrain
        from ...training.callbacks import ProcessorBeside
        from ...training.structured_embeddings import share_learning

        # The first process fills the cache, which the others then read.
        with run.processes.first_before_others():
            tokens = {split: self._tokens(processor, split) for split in ("train", "validation")}
        further: dict[str, Any] = {"callbacks": [ProcessorBeside(processor)]}
        if settings.restrict_log_probs:
            further["range_head"] = RangeHead.of(processor, self.recipe.windows.horizon)
        if settings.shared_learning:
            further["prepare_optimizer"] = share_learning(model, processor)
        return LikelihoodParts(train=pretrain, model=model, tokens=tokens, settings=further)

    def codec(self) -> Any:
        """The codec of the recipe, float32, on the CPU; `None` in a world of sensors."""
        source = self.settings("tokenizer").source
        return None if source == NONE else load_codec(codec_place(self.recipe, source))

    def codec_identity(self) -> str:
        """The fingerprint of its training if it is trained here, else a hash of its weights, or its Hub id."""
        source = self.settings("tokenizer").source
        if source == SCRATCH:
            return find_stage("tokenizer").fingerprint(self.recipe)
        return checkpoint_identity(codec_place(self.recipe, source))

    def build_processor(self) -> StepBlockProcessor:
        """
        The processor of the recipe, with its codec if it has one. Its ranges are those of the training episodes'
        actions, and of their states if these are to be predicted.

        Returns:
            `StepBlockProcessor`: a `VideoWorldModelProcessor`, or, if the tokenizer's source is none, a
            `SensorWorldModelProcessor`.

        Raises:
            ValueError: If states are to be predicted and were not recorded, or there is nothing to predict.
        """
        settings, episodes = self.settings("pretrain"), self.stored("train")
        codec = self.codec()
        arguments: dict[str, Any] = {
            **_ranges("action", [episode.actions for episode in episodes]),
            "action_bins": settings.action_bins,
            "observed_steps": self.recipe.windows.observed_steps,
            "fps": episodes[0].fps,
            **processor_settings(self.recipe, settings=self.settings("collect").arguments),
        }
        if settings.sensor_bins:
            arguments |= _ranges("state", [episode.states for episode in episodes])
            arguments["sensor_bins"] = settings.sensor_bins
        elif codec is None:
            raise ValueError(NO_SENSOR_BINS.format(0))
        if codec is None:
            return SensorWorldModelProcessor.from_ranges(**arguments)
        return VideoWorldModelProcessor.from_codec(codec, **arguments, sensors_first=settings.sensors_first)

    def evaluate(
        self,
        settings: Any,
        checkpoints: Mapping[str, tuple[Any, Any]],
        rewards: list[Any],
        metrics: list[Any],
        *,
        share: Share = ALONE,
    ) -> Results:
        """See [`~rlvr_world_hf.evaluation.evaluate`]."""
        _, processor = next(iter(checkpoints.values()))
        measure = partial(
            compare,
            checkpoints,
            recipe=self.recipe.name,
            rewarded=rewards,
            training_seed=self.recipe.seed,
            draws=settings.draws(),
            metrics=self._metrics(processor, rewards, metrics),
            batch_size=settings.batch_size,
            share=share,
            with_recorded=bool(settings.conditions),
        )
        usual = measure(self.rows("test", count=settings.windows), best_sampling=settings.best(self))
        return beside(
            usual,
            {
                name: measure(self._under(name, changed).other_test_rows(count=settings.windows))
                for name, changed in settings.conditions.items()
            },
        )

    def try_conditions(self, conditions: Mapping[str, Mapping[str, Any]]) -> None:
        """Read the keys of each as those of collect."""
        if is_recorded(world_source(self.recipe)):
            raise ValueError(
                f"evaluate.conditions: expected none for recorded data, got {', '.join(conditions)}; leave them out, "
                "or put other checkpoints' data into a recipe of its own."
            )
        for name, changed in conditions.items():
            what = "collect refuses the keys"
            with named_setting(f"evaluate.conditions.{name}", what, "Change the key that is meant."):
                self._under(name, changed).settings("collect")

    def other_test_rows(self, *, count: int) -> datasets.Dataset:
        """Rows of test episodes alone, recorded for this recipe and cached by the settings of its stage collect."""
        settings, collected = self.settings("collect"), find_stage("collect")
        first = settings.first_seed + SPLITS["test"]
        seeds = {"test": range(first, first + int(settings.test))}
        folder = cached("conditions", collected.fingerprint(self.recipe), partial(self.record, seeds))
        rows = self.cut(self.load(folder / "test"), "test")
        return evenly(rows, count)

    def _under(self, name: str, changed: Mapping[str, Any]) -> StepBlockKind:
        """This kind, of a recipe with other keys of collect."""
        sections = {**self.recipe.sections, "collect": {**self.recipe.sections.get("collect", {}), **changed}}
        recipe: Recipe = dataclasses.replace(self.recipe, name=f"{self.recipe.name}, {name}", sections=sections)
        return type(self)(recipe)

    def _metrics(self, processor: Any, rewards: Sequence[Any], metrics: Sequence[Any]) -> list[Any]:
        """Those of what a processor predicts, and the recipe's own."""
        return [*metrics_of_processor(processor, rewarded=[*rewards, *metrics]), *metrics]

    def measure(
        self, model: Any, processor: Any, rewards: list[Any], metrics: list[Any], *, count: int
    ) -> dict[str, float]:
        """See [`~rlvr_world_hf.evaluation.comparison.measure_checkpoint`]."""
        rows, size = self.rows("validation", count=count), self.settings("evaluate").batch_size
        return measure_checkpoint(model, processor, rows, metrics=metrics, rewarded=rewards, batch_size=size)

    def show(self, model: Any, processor: Any, folder: Path, *, count: int) -> dict[str, Path]:
        """Reference, prediction and error of lively windows, frames also as a clip."""
        rows = lively_rows(self.rows("validation"), count)
        (batch,) = row_batches(rows, size=len(rows), device=model.device)
        found = predict_checkpoint(batch, model=model, processor=processor, sampling=Sampling(temperature=0.0))
        columns = {"predicted": found.predicted, "predicted_states": found.predicted_states}
        # One prediction for each row.
        likeliest = {name: values[:, 0].float().cpu() for name, values in columns.items() if values is not None}
        files = _draw_rows(rows, {"prediction": likeliest}, processor, folder, self.settings("predict").scale)
        return {f"predictions/{SHOWN[file.name]}": file for file in files}

    def draw(self, run: StageRun, pipelines: Mapping[str, Any]) -> list[Path]:
        """Frames as `strip.png` and `strip.gif`, sensors as `sensors.png`."""
        rows = lively_rows(self.rows("test"), run.settings.examples)
        predictions = {
            name: [_predict(pipeline, row, run.settings, seed) for seed, row in enumerate(rows)]
            for name, pipeline in pipelines.items()
        }
        stacked = {
            name: {column: torch.stack([of_row[column] for of_row in of_rows]) for column in of_rows[0]}
            for name, of_rows in predictions.items()
        }
        processor = next(iter(pipelines.values())).processor
        return _draw_rows(rows, stacked, processor, run.folder, run.settings.scale)

    def _start_place(self) -> Path | str | None:
        """Where the world model lies that training starts from; `None` for a fresh policy."""
        start = self.settings("pretrain").start_from
        return self._bundled_base() if start == BUNDLED else start or None

    def _check_law(self, spoken: str | None, place: Path | str) -> None:
        """Refuse a world model whose processor saves another law of actions than that of the recipe's episodes."""
        check_law(self.recipe, spoken, settings=self.settings("collect").arguments, place=str(place))

    def _bundled_base(self) -> Path:
        source = self.settings("tokenizer").source
        if source != BUNDLED:
            raise ValueError(
                "pretrain.start_from: the bundled world model writes the bundled codec's codes, and tokenizer.source "
                f"is {source!r}; train one on yours with `--pretrain.start_from ''`, and a larger "
                "`--pretrain.max_steps` and `--pretrain.learning_rate`."
            )
        return bundled_path(f"{self.recipe.world}-base")

    def _tokens(self, processor: StepBlockProcessor, split: str) -> datasets.Dataset:
        settings = self.settings("pretrain")
        made_from: dict[str, Any] = {
            "revision": TOKENS_REVISION,
            "episodes": find_stage("collect").fingerprint(self.recipe),
            "split": split,
            "windows": dataclasses.asdict(self.recipe.windows),
            # A world model to start from brings its own codec and ranges, whatever the recipe's tokenizer is.
            "codec": weights_identity(processor.codec) if settings.start_from else self.codec_identity(),
            "layout": processor.layout.to_dict(),
            "actions": [processor.action_low, processor.action_high],
            # In bfloat16 an eighth of the codes differed, and prompts of evaluation and pipeline are in float32.
            "bf16": False,
        }
        if processor.action_matrix is not None:
            made_from["action_matrix"] = processor.action_matrix
        if "sensors" in processor.predicts:
            made_from["states"] = [processor.state_low, processor.state_high]
        folder = cached("tokens", fingerprint(made_from), partial(self._tokenize, processor, split))
        return datasets.load_from_disk(str(folder)).with_format("torch")

    def _tokenize(self, processor: StepBlockProcessor, split: str, folder: Path) -> None:
        from ...training import tokenize_rows

        with TemporaryDirectory(dir=folder) as scratch:
            tokens = tokenize_rows(self.rows(split), processor, file=Path(scratch, "tokens.arrow"))
            tokens.save_to_disk(str(folder))


def lively_rows(rows: datasets.Dataset, count: int) -> list[dict[str, Any]]:
    """
    One row from each of several episodes: one in which much moves, but a quarter of the episode's rows move more.

    Only rows of these episodes are read, one at a time.

    Args:
        rows (`datasets.Dataset`):
            Rows of [`~rlvr_world_hf.data.window_rows`], none of them padded.
        count (`int`):
            Number of episodes, evenly chosen.

    Returns:
        `list[dict]`: At most `count` rows.
    """
    places: dict[int, list[int]] = {}
    # Without the transform that cuts its arrays, a row is two numbers.
    for place, episode in enumerate(rows.with_format(None)["episode_index"]):
        places.setdefault(episode, []).append(place)
    episodes = list(places.values())
    count = min(count, len(episodes))
    return [_lively_row(rows, episodes[number * len(episodes) // count]) for number in range(count)]


def _lively_row(rows: datasets.Dataset, places: list[int]) -> dict[str, Any]:
    moved = []
    for place in places:
        row = rows[place]
        moved.append((float(np.abs(row["reference"].astype(np.float32) - row["context"][-1:]).mean()), place))
    return rows[sorted(moved)[3 * (len(moved) - 1) // 4][1]]


def _split(names: list[str], settings: Any) -> dict[str, str]:
    """The split of each recorded episode in use, by its name."""
    try:
        train, validation, test = split_names(
            names, validation=settings.validation, test=settings.test, seed=settings.first_seed
        )
    # While a job runs, the command reports this error alone without a traceback.
    except ValueError as error:
        raise UnusableEpisodesError(f"collect: {error}") from error
    if settings.train > len(train):
        raise UnusableEpisodesError(
            f"collect.train: expected at most the {len(train)} episodes that are left of {len(names)}, got "
            f"{settings.train}; lower it, or give 0 for all that are left."
        )
    places = {"train": train[: settings.train or None], "validation": validation, "test": test}
    return {names[place]: split for split, chosen in places.items() for place in chosen}


def _counted(episodes: Iterable[Episode], bar: tqdm) -> Iterator[Episode]:
    frames = 0
    for episode in episodes:
        frames += len(episode)
        bar.update()
        bar.set_postfix(frames=frames)
        yield episode


def _ranges(name: str, arrays: list[np.ndarray | None]) -> dict[str, list[float]]:
    """Lowest and highest value of each dimension."""
    known = [array for array in arrays if array is not None]
    if len(known) < len(arrays):
        raise ValueError(
            f"pretrain.sensor_bins: {len(arrays) - len(known)} of {len(arrays)} episodes were recorded without "
            "states; collect them with states, or leave `sensor_bins` at 0."
        )
    # Of each on its own: those of all episodes, one after another, may be many.
    low = np.min([array.min(axis=0) for array in known], axis=0)
    high = np.max([array.max(axis=0) for array in known], axis=0)
    return {f"{name}_low": low.tolist(), f"{name}_high": high.tolist()}


def _draw_rows(
    rows: list[dict[str, Any]],
    predictions: Mapping[str, Mapping[str, torch.Tensor]],
    processor: Any,
    folder: Path,
    scale: int,
) -> list[Path]:
    """Draws what was predicted of some rows: label -> column -> values of each row."""
    pictures: list[Path] = []
    # Columns of what is predicted first have plain names; those of sensors beside frames end in `_states`.
    for shown, suffix in zip(processor.predicts, ("", "_states"), strict=False):
        given, recorded = (
            torch.as_tensor(np.stack([row[name + suffix] for row in rows])) for name in ("context", "reference")
        )
        predicted = {name: columns["predicted" + suffix] for name, columns in predictions.items()}
        seconds = 1 / (processor.fps or 2.0)
        pictures += DRAW[shown](given, recorded, predicted, folder, scale, seconds)
    return pictures


def _draw_frames(
    context: Any, reference: Any, predictions: Any, folder: Path, scale: int, seconds: float
) -> list[Path]:
    files = [folder / "strip.png", folder / "strip.gif"]
    paths: dict[str, Any] = {"path_png": files[0], "path_gif": files[1]}
    strip(context, reference, predictions, **paths, scale=scale, seconds_per_frame=seconds)
    return files


def _draw_sensors(
    context: Any, reference: Any, predictions: Any, folder: Path, scale: int, seconds: float
) -> list[Path]:
    file = folder / "sensors.png"
    sensor_lines(context, reference, predictions, path_png=file, seconds_per_step=seconds)
    return [file]


SHOWN = {"strip.png": "frames", "strip.gif": "clip", "sensors.png": "sensors"}
"""What the files of drawings show."""

DRAW = {"frames": _draw_frames, "sensors": _draw_sensors}
"""Function that draws each kind of state."""


def _predict(pipeline: Any, row: dict[str, Any], settings: Any, index: int) -> dict[str, torch.Tensor]:
    beside = {"states": row["context_states"]} if "context_states" in pipeline.processor.prompt_columns else {}
    predicted = pipeline(
        row["context"],
        row["actions"],
        **beside,
        num_samples=1,
        temperature=settings.temperature,
        seed=settings.sampling_seed + index,
    )
    return {name: futures[0] for name, futures in state_columns(predicted).items()}
