"""Tokenizer: trains the codec between frames and codes, if the recipe asks for one trained from scratch."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..codec import BUNDLED, SCRATCH
from ..keys import key
from ..kinds import kind_of
from ..named_parts import build_metrics, try_parts
from ..precision import BF16, Bfloat16
from ..recipe import Recipe
from ..stage import StageRun, stage


REVISION = 1
"""Raised when another tokenizer comes of the same settings, see [`~rlvr_world_hf.runs.stage.Stage`]."""


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerSettings:
    """Where the codec comes from; other keys are those of its training, read when it is trained."""

    source: str = key(
        BUNDLED,
        "bundled: the codec that ships with the library; scratch: one trained here; none: no codec, for a world of "
        "sensors; or a folder, a bundled name, or a Hub id.",
    )
    codec: dict[str, Any] = key(
        {"path": "rlvr_world_hf.CompressiveTokenizer"}, "For scratch: import path of the codec and its configuration."
    )
    start_from: str | None = key(
        None,
        "For scratch: folder or Hub id of a codec. Training begins with its weights where their shapes agree with "
        "`codec`; null: random weights.",
    )
    metrics: list[dict[str, Any]] = key(
        [],
        "For scratch: metrics of this world to measure the codec by, beside the standard ones.",
        affects_result=False,
    )
    bf16: Bfloat16 = BF16
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


def _training_keys(recipe: Recipe) -> Callable[..., Any]:
    return kind_of(recipe).tokenizer_keys()


def _source(recipe: Recipe) -> str:
    return kind_of(recipe).tokenizer_source()


def _try(recipe: Recipe, settings: TokenizerSettings) -> None:
    """What the training builds, and the metrics; without a source of weights, what is to be loaded."""
    kind = kind_of(recipe)
    kind.try_tokenizer(settings)
    try_parts(
        build_metrics(settings.metrics, where="tokenizer.metrics"), kinds=kind.states(), where="tokenizer.metrics"
    )


@stage(
    settings=TokenizerSettings,
    revision=REVISION,
    after=("collect",),
    makes=("codec", "text_tokenizer"),
    forwards_to=_training_keys,
    reserved=("texts",),
    made_from=_source,
    by_content=("source", "start_from"),
    tries=_try,
    shares_processes=True,
)
def tokenizer(run: StageRun) -> list[Path]:
    """
    Train the visual tokenizer on the training episodes and save it as `codec/`, with its errors in `results.json`.

    Only for `--tokenizer scratch`: by default the codec that ships with the library is used, like a tokenizer from the
    Hub. In a world of text, a text tokenizer is trained on its prompts and answers.
    """
    if run.settings.source != SCRATCH:
        logger.info("tokenizer: %s", run.settings.source)
    return kind_of(run.recipe).train_tokenizer(run)
