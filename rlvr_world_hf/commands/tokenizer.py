"""Tokenizer: trains the codec between frames and codes, where the recipe asks for one trained from scratch."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ..hub.convert import load_official_tokenizer
from ..hub.download import local_folder
from ..hub.official import find_official
from ..processors.base import TRUSTED_PACKAGES
from .collect import augmentation, is_text, load_split, split_rows
from .keys import key
from .locations import bundled_names, bundled_path
from .named_parts import build_metrics, build_part
from .precision import BF16, Bfloat16, use_bfloat16
from .recipe import Recipe
from .stage import StageRun, stage


logger = logging.getLogger(__name__)

SCRATCH, BUNDLED, NONE = "scratch", "bundled", "none"

TEXT_TOKENIZER = "text_tokenizer"
"""Folder of a run's output that holds a text tokenizer trained in it."""

MEASURED_WINDOWS = 512
"""Validation windows on which a trained codec is measured; all, if there are fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerSettings:
    """Where the codec comes from; other keys are those of its training, read when it is trained."""

    source: str = key(
        BUNDLED,
        "bundled: the one that ships with the library; scratch: trained here; none: a world of sensors has none; a "
        "folder, a bundled name such as pusht-codec, or a Hub id.",
    )
    codec: dict[str, Any] = key(
        {"path": "rlvr_world_hf.CompressiveTokenizer"}, "For scratch: import path of the codec and its configuration."
    )
    start_from: str | None = key(
        None,
        "For scratch: a folder or Hub id of a codec whose weights training begins with, as far as its shapes agree "
        "with those of `codec`; none: random weights.",
    )
    metrics: list[dict[str, Any]] = key(
        [],
        "For scratch: metrics of this world to measure the codec by, beside the standard ones.",
        shapes_result=False,
    )
    bf16: Bfloat16 = BF16
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


def training_function(recipe: Recipe) -> Callable[..., Any]:
    """Where the other keys of the stage go; imported on use."""
    if is_text(recipe):
        from ..training.language import train_text_tokenizer

        return train_text_tokenizer
    from ..training.tokenizer_training import train_tokenizer

    return train_tokenizer


def codec_identity(recipe: Recipe) -> str:
    """
    Identifies the codec of a recipe: the stage's fingerprint if it is trained here, else a hash of its weights, or its
    Hub id.
    """
    settings = tokenizer.read(recipe)
    return tokenizer.fingerprint(recipe) if settings.source == SCRATCH else weights_hash(_codec_place(recipe))


def load_codec(recipe: Recipe) -> Any:
    """The codec of a recipe whose tokenizer stage is finished, float32, on the CPU; `None` in a world of sensors."""
    if tokenizer.read(recipe).source == NONE:
        return None
    return _codec_at(str(_codec_place(recipe))).eval()


def _codec_at(place: str) -> Any:
    place = str(_found(place))
    if find_official(place) is not None:
        return load_official_tokenizer(local_folder(place)).float()
    return _codec_class(place).from_pretrained(place).float()


def _codec_class(place: str) -> Any:
    """The class that the `config.json` of a codec names, if it is a model of a trusted package."""
    from diffusers import AutoModel, ModelMixin

    name = AutoModel.load_config(place).get("_class_name", "")
    for package in TRUSTED_PACKAGES:
        found = getattr(import_module(package), name, None)
        if isinstance(found, type) and issubclass(found, ModelMixin):
            return found
    raise ValueError(
        f"tokenizer.source: expected a codec whose class is a public model of {' or '.join(TRUSTED_PACKAGES)}, got "
        f"{name!r} in {place}; a class of your own can be trained, but not loaded by a recipe."
    )


def weights_hash(place: Path | str) -> str:
    """Identifies a checkpoint by its weights and configuration, one that is not a folder by its name."""
    if not Path(place).is_dir():
        return str(place)
    digest = hashlib.sha256()
    for file in sorted([*Path(place).glob("*.safetensors"), *Path(place).glob("config.json")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _made_from(recipe: Recipe) -> str:
    settings = tokenizer.read(recipe)
    if is_text(recipe) or settings.source == SCRATCH:
        return settings.source if settings.start_from is None else weights_hash(settings.start_from)
    return weights_hash(_codec_place(recipe))


def _codec_place(recipe: Recipe) -> Path | str:
    source = tokenizer.read(recipe).source
    if source == SCRATCH:
        return recipe.output_dir / "codec"
    if source == BUNDLED:
        return bundled_path(f"{recipe.world}-codec")
    return _found(source)


def _found(place: str) -> Path | str:
    """A folder, also of a bundled codec by its name; anything else as it is."""
    if Path(place).is_dir():
        return Path(place)
    return bundled_path(place) if place in bundled_names() else place


@stage(
    settings=TokenizerSettings,
    after=("collect",),
    passed_on_to=training_function,
    kept_back=("validation_episodes", "texts", "augmentation"),
    made_from=_made_from,
    shares_processes=True,
)
def tokenizer(run: StageRun) -> list[Path]:
    """
    Train the visual tokenizer on the training episodes and save it as `codec/`, with what it loses as `results.json`.

    Only for `--tokenizer scratch`: by default the codec that ships with the library is used, as people take a
    tokenizer from the Hub. In a world of text, a text tokenizer is trained on its prompts and answers.
    """
    recipe, settings = run.recipe, run.settings
    if is_text(recipe):
        return train_text(run) if settings.source == SCRATCH and run.processes.is_first else []
    if settings.source != SCRATCH:
        logger.info("tokenizer: %s", _codec_place(recipe))
        return []
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        codec = build_part(settings.codec, where="tokenizer.codec", example="rlvr_world_hf.CompressiveTokenizer")
    if settings.start_from is not None:
        _take_weights(codec, settings.start_from)
    training_function(recipe)(
        codec.to(run.processes.device),
        load_split(recipe, "train"),
        validation_episodes=load_split(recipe, "validation"),
        output_dir=run.folder,
        seed=recipe.seed,
        bf16=use_bfloat16(settings.bf16, run.processes.device),
        augmentation=augmentation(recipe),
        **{"horizon": recipe.windows.horizon, **settings.arguments},
    )
    if not run.processes.is_first:
        return []
    folder = recipe.output_dir / "codec"
    codec.save_pretrained(folder)
    return [folder, write_codec_results(recipe)]


def _take_weights(codec: Any, place: str) -> None:
    """Gives a codec the weights of another whose names and shapes are the same, and says which are not."""
    try:
        own, given = codec.state_dict(), _codec_at(place).state_dict()
    except OSError as error:
        raise FileNotFoundError(
            f"tokenizer.start_from: expected a folder or Hub id of a codec, got {place}, where none is; train it "
            "by its own recipe first, or leave `tokenizer.start_from` out."
        ) from error
    taken = {name: weights for name, weights in given.items() if name in own and own[name].shape == weights.shape}
    if not taken:
        raise ValueError(
            "tokenizer.start_from: expected a codec some of whose weights fit `tokenizer.codec`, got none in "
            f"{place}; give both the same class and sizes, or leave `tokenizer.start_from` out."
        )
    codec.load_state_dict(own | taken)
    left = ", ".join(sorted(own.keys() - taken.keys()))
    logger.info("tokenizer: weights of %s%s", place, f"; random: {left}" if left else "")


def train_text(run: StageRun) -> list[Path]:
    """Train a text tokenizer on the prompts and answers of the training split, and save it as `text_tokenizer/`."""
    rows = load_split(run.recipe, "train")
    prompts = (one if isinstance(one, str) else "\n".join(turn["content"] for turn in one) for one in rows["prompt"])
    folder = run.recipe.output_dir / TEXT_TOKENIZER
    training_function(run.recipe)(chain(prompts, rows["completion"]), **run.settings.arguments).save_pretrained(
        str(folder)
    )
    return [folder]


def write_codec_results(recipe: Recipe) -> Path:
    """Measure the codec of a recipe on its validation episodes, and write `results.json` beside its weights."""
    from ..evaluation import evaluate_tokenizer, metrics_of_processor
    from ..evaluation.results import write_results
    from .pretrain import build_processor

    processor = build_processor(recipe)
    results = evaluate_tokenizer(
        processor,
        split_rows(recipe, "validation", count=MEASURED_WINDOWS),
        recipe=recipe.name,
        training_seed=recipe.seed,
        metrics=[
            *metrics_of_processor(processor),
            *build_metrics(tokenizer.read(recipe).metrics, where="tokenizer.metrics"),
        ],
    )
    return write_results(results, recipe.output_dir / "codec" / "results.json")
