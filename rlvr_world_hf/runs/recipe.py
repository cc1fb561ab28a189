"""
A recipe: the complete settings of a run, one YAML file with one top-level key per stage.

`load_recipe` reads it and applies what the command line overrides; each stage reads its own part with
[`Recipe.read`][]. A name like `pusht/quickstart` is a recipe of the library, a path is one of yours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .keys import SettingsType, SettingTypeError, Words, check_known, convert, fill, key, keys_of
from .locations import recipe_path
from .yaml_text import read_yaml


STAGES = (
    "collect",
    "tokenizer",
    "inverse",
    "pretrain",
    "grpo",
    "control",
    "control_equal_prompts",
    "straight_through",
    "evaluate",
    "predict",
)
"""The stages in the order of a run. Each is a function in the file of the same name in `stages/`."""


SHARED_KEYS = ("world", "seed", "output_dir", "card", "report_to")
"""Keys of the whole run, beside `windows` and the stages."""


SEED_LIMIT = 2**32
"""Training seeds are below: what every library's generator takes."""


WITH_OWN_CODEC = "with_own_codec"
"""Part of a recipe for the bundled codec: dotted keys and values that override others if another codec is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSettings:
    """How episodes are cut into dataset rows; all stages after collect share these settings."""

    context_frames: int = key(1, "Frames given in full; 0 if each frame is coded on its own.")
    observed_steps: int = key(0, "Further frames given, each as one step block.")
    horizon: int = key(4, "Frames to predict.")
    stride: int = key(1, "Frames between the starts of two windows.")
    context_reach: int = key(
        0, "Draw the context frame from this many, the first observed one and those before; 0: no draw."
    )
    augmentation: dict[str, Any] | None = key(
        None, "Random changes of training frames: the import path of ClipAugmentation, and its arguments."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """
    The complete settings of a run.

    Example:

    ```python
    >>> recipe = load_recipe("pusht/quickstart", overrides={"seed": 1, "grpo.learning_rate": 1e-4})
    >>> recipe.world, recipe.seed
    ('pusht', 1)

    ```
    """

    name: str
    """Name or path it was loaded by, such as `pusht/quickstart`."""

    world: str = key(
        "pusht",
        "Source of episodes: a world of `rlvr_world_hf/worlds/`, folder, lerobot, or the import path of yours.",
    )
    """Source of episodes."""

    seed: int = key(0, "Training seed. Episodes have seeds of their own, so that all training seeds share them.")
    """Training seed."""

    output_dir: Path = key(Path("outputs"), "Folder of everything that the run writes; outputs/<recipe> if not given.")
    """Folder of everything that the run writes."""

    card: str = key("", "Folder below model_cards/ for what `reproduce` finds.", affects_result=False)
    """Folder below `model_cards/` that `reproduce` writes in a checkout; none if empty."""

    report_to: str = key(
        "none", "Where curves and predictions are sent: none, tensorboard, trackio or wandb.", affects_result=False
    )
    """Experiment tracker of the trainers."""

    windows: WindowSettings = dataclasses.field(default_factory=WindowSettings)
    """How episodes are cut into rows."""

    sections: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """The part of each stage, not yet checked, by the stage's name, in the order of a run."""

    def read(
        self,
        stage: str,
        settings_class: type[SettingsType],
        *,
        forwards_to: Callable[..., Any] | None = None,
        reserved: Collection[str] = (),
    ) -> SettingsType:
        """Settings of a stage, checked; arguments and errors as in [`fill`][]. Keys of the whole run stay here."""
        return fill(
            settings_class,
            self.sections.get(stage, {}),
            where=stage,
            forwards_to=forwards_to,
            # The trainers' configs have `seed`, `output_dir` and `report_to`, too.
            reserved=(*SHARED_KEYS, *reserved),
        )

    @property
    def reproduction_dir(self) -> Path:
        """Default folder of its reproduction, which has one run per training seed."""
        return self.output_dir.parent / "reproduce" / self.output_dir.name

    def to_dict(self) -> dict[str, Any]:
        """The recipe as a mapping that, written as YAML, is this recipe again; the output folder is left out."""
        content = {"world": self.world, "seed": self.seed, "windows": dataclasses.asdict(self.windows)}
        return content | {stage: dict(section) for stage, section in self.sections.items()}


def load_recipe(name: str | Path, *, overrides: Mapping[str, Any] | None = None, stage: str | None = None) -> Recipe:
    """
    Read a recipe.

    Args:
        name (`str` or `Path`):
            Name of a recipe that ships with the library, such as `pusht/quickstart`, or path of a YAML file.
        overrides (`Mapping[str, Any]`, *optional*):
            Values, or [`Words`][] of the command line, that replace those of the file. A key is dotted
            (`grpo.learning_rate`), a key of all stages (`seed`), or, when `stage` is given, a key of that stage.
            `tokenizer: scratch` is short for `tokenizer.source: scratch`. If they choose another codec than the
            bundled one, the recipe's keys under `with_own_codec` are applied before them.
        stage (`str`, *optional*):
            Stage to which keys without a dot belong.

    Returns:
        `Recipe`: The recipe. The parts of the stages are checked when they are read.

    Raises:
        FileNotFoundError: If there is no such recipe.
        ValueError: If a key is unknown, naming the nearest known one, the seed is out of range, or the file is not
            YAML.
        SettingTypeError: If a value has another type than its key, or the file is empty.

    Example:

    ```python
    >>> load_recipe("pusht/debug", overrides={"learning_rate": 0.1}, stage="grpo").sections["grpo"]["learning_rate"]
    0.1

    ```
    """
    path = recipe_path(str(name))
    content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        given = type(content).__name__ if content else "nothing"
        raise SettingTypeError(
            f"{path}: expected a mapping with one key per stage, got {given}; begin with `collect:`, as the library's "
            "recipes do."
        )
    content = _overridden(content, overrides or {}, stage=stage)

    shared = {name: known for name, known in keys_of(Recipe).items() if name in SHARED_KEYS}
    check_known(content, [*shared, "windows", *STAGES], where=str(name))
    values = {name: convert(content[name], shared[name].hint, where=name) for name in shared if name in content}
    values.setdefault("output_dir", Path("outputs") / path.stem)
    if not 0 <= values.get("seed", 0) < SEED_LIMIT:
        raise ValueError(f"seed: expected a whole number from 0 to {SEED_LIMIT - 1}, got {values['seed']}; give one.")
    sections = {stage: _part(content, stage) for stage in STAGES if stage in content}
    windows = fill(WindowSettings, _part(content, "windows"), where="windows")
    return Recipe(name=str(name), windows=windows, sections=sections, **values)


def parse_overrides(arguments: Sequence[str]) -> dict[str, Words]:
    """
    Overrides from the words after the recipe's name on the command line.

    Args:
        arguments (`Sequence[str]`):
            `--key value` or `--key=value`.

    Returns:
        `dict[str, Words]`: The values by key. The type of a key says how its value is read.

    Raises:
        ValueError: If a key has no value, or a word is not a key.

    Example:

    ```python
    >>> parse_overrides(["--seed", "1", "--grpo.learning_rate=1e-4", "--tokenizer", "scratch"])
    {'seed': '1', 'grpo.learning_rate': '1e-4', 'tokenizer': 'scratch'}

    ```
    """
    overrides: dict[str, Words] = {}
    words = iter(arguments)
    for word in words:
        if not word.startswith("--") or word == "--":
            raise ValueError(f"Expected `--key value` after the recipe, got {word!r}; write `--key` before a value.")
        name, equals, text = word[2:].partition("=")
        if not equals:
            following = next(words, None)
            # Two dashes: `-1` is a value.
            if following is None or following.startswith("--"):
                raise ValueError(
                    f"Expected a value after `--{name}`, got {following or 'nothing'}; add one, as `--{name}=...` if "
                    "it begins with two dashes."
                )
            text = following
        overrides[name] = Words(text)
    return overrides


def _overridden(content: Mapping[str, Any], overrides: Mapping[str, Any], *, stage: str | None) -> dict[str, Any]:
    """The content with its overrides; those under `with_own_codec` come first if another codec than ours is used."""
    for_own = _part(content, WITH_OWN_CODEC)
    plain = {name: value for name, value in content.items() if name != WITH_OWN_CODEC}
    if isinstance(plain.get("tokenizer"), str):
        plain["tokenizer"] = {"source": plain["tokenizer"]}
    chosen = dict(plain)
    for dotted, value in overrides.items():
        _override(chosen, dotted, value, stage=stage)
    tokenizer = chosen.get("tokenizer")
    if for_own and isinstance(tokenizer, Mapping) and tokenizer.get("source") != "bundled":
        # `plain` no longer has that part, so this happens once.
        return _overridden(plain, {**for_own, **overrides}, stage=stage)
    return chosen


def _part(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of a recipe; one without a value, or not there, is empty."""
    part = content.get(name)
    return {} if part is None else convert(part, dict, where=name)


def _override(content: dict[str, Any], dotted: str, value: Any, *, stage: str | None) -> None:
    section, _, name = dotted.rpartition(".")
    if isinstance(value, Words) and dotted in (*STAGES, "windows"):
        whole = value.read(dotted)
        # Of `--tokenizer scratch` the words stay, as `tokenizer.source` is text.
        if dotted != "tokenizer" or whole is None or isinstance(whole, Mapping):
            value = whole
    if dotted == "tokenizer" and isinstance(value, str):
        section, name = "tokenizer", "source"
    if not section and name not in (*keys_of(Recipe), *STAGES) and stage is not None:
        section = stage
    if not section:
        content[name] = value
        return
    check_known([section], [*STAGES, "windows"], where=f"--{dotted}")
    content[section] = {**_part(content, section), name: value}
