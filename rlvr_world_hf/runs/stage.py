"""
A stage: a function of a recipe. It first runs the stages that it needs; finished stages are skipped, interrupted ones
resumed.

Each stage is one file of this room with a settings dataclass and a function under the decorator [`stage`][]:

```python
@stage(settings=PredictSettings, after=("evaluate",))
def predict(run: StageRun) -> list[Path]: ...
```

The function gets a [`StageRun`][] and returns the files and folders it made. The name `predict` then stands for a
[`Stage`][], called with a recipe.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from . import outputs
from .clock import Clock
from .content import module_sources, own_sources, with_content
from .drafts import remove_drafts
from .keys import FORWARDED, settled
from .lock import RunInUseError, locked
from .processes import Processes
from .progress import Progress, fingerprint
from .recipe import STAGES, Recipe
from .result_settings import settings_of_result
from .status import note_asked, what_is_kept
from .world import world_source


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """One run of a stage: what its function is given."""

    recipe: Recipe
    """The complete recipe."""

    settings: Any
    """The stage's part of the recipe, an object of its settings dataclass."""

    folder: Path
    """The stage's folder for these settings, for all that it makes; holds an interrupted run's checkpoints."""

    clock: Clock
    """How long the stage has computed."""

    processes: Processes
    """The processes of `accelerate launch`."""

    def stage_seconds(self, name: str) -> float:
        """Seconds that the finished stage `name` computed."""
        return finished_seconds(self.recipe, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage of a run; calling it with a recipe runs it, and the stages before it where they are not finished."""

    name: str
    """Name of the stage, of its file, of its function and of its part of the recipe."""

    settings: type
    """Dataclass of its part of a recipe."""

    revision: int
    """Raised when the stage makes something else of the same settings: what an earlier revision made stays apart."""

    after: tuple[str, ...]
    """Names of the stages whose results it uses."""

    also_after: tuple[str, ...]
    """Names of stages whose results it uses, too, where the recipe has a part for them."""

    makes: tuple[str, ...]
    """Names of the checkpoints that it may make, as folders of the run's output."""

    work: Callable[[StageRun], list[Path]]
    """The function that does its work and returns what it made."""

    forwards_to: Callable[[Recipe], Callable[..., Any]] | None
    """Returns the dataclass or function to which keys that are not the stage's own are forwarded."""

    reserved: tuple[str, ...]
    """Keys of `forwards_to` that the stage sets itself."""

    made_from: Callable[[Recipe], Any] | None
    """
    What else the result depends on, such as files that the recipe names: each `Path` in it counts by its content.
    `None` if there is nothing.
    """

    by_content: tuple[str, ...]
    """Settings that name what `made_from` identifies: they count by its content, not by its name."""

    check: Callable[[Recipe, Any], None] | None
    """Raises a ValueError if its settings do not fit the rest of the recipe; `None` if there is nothing to check."""

    tries: Callable[[Recipe, Any], None] | None
    """Builds from its settings what the stage will build, as far as that is cheap, and raises what that raises."""

    answers: Callable[[Recipe], bool] | None
    """Whether a recipe asks it for an answer on the terminal, given each time and kept nowhere; `None`: never."""

    shares_seeds: bool
    """Whether its result is the same for every training seed."""

    shares_processes: bool
    """Whether all processes of `accelerate launch` work on it; if not, the first does and the others wait."""

    def needs(self, recipe: Recipe | None) -> tuple[str, ...]:
        """Names of the stages whose results it uses with a recipe; without one, with any."""
        if recipe is None:
            return self.after
        return (*self.after, *(name for name in self.also_after if name in recipe.sections))

    def __call__(self, recipe: Recipe) -> Path:
        """Run the stage and return its folder."""
        run_stages(recipe, [self.name])
        return stage_folder(recipe, self.name)

    def run_alone(self, recipe: Recipe) -> None:
        """Run the stage unless it is finished. The stages that it needs must be finished."""
        progress, processes = self.progress(recipe), Processes()
        processes.wait()
        if self.answers is not None and self.answers(recipe):
            if processes.is_first:
                self.work(self._prepare(recipe, progress, processes))
        elif progress.is_done():
            logger.info("%s: already done", self.name)
        elif processes.is_first or self.shares_processes:
            self._run(recipe, progress, processes)
        # The next stage reads what the first process has written here.
        processes.wait()

    def progress(self, recipe: Recipe) -> Progress:
        """How far it is with the settings of a recipe."""
        name = self.fingerprint(recipe)
        return Progress(folder=recipe.output_dir / "stages" / self.name / name, fingerprint=name)

    def needs_work(self, recipe: Recipe) -> bool:
        """Whether it has something to write: all but finished stages, and those that only answer on the terminal."""
        return not (self.answers is not None and self.answers(recipe)) and not self.progress(recipe).is_done()

    def publish(self, recipe: Recipe) -> None:
        """Point the run's output folder to what it made with the settings of a recipe."""
        progress = self.progress(recipe)
        if progress.folder.is_dir():
            outputs.note_current(progress.folder)
            outputs.publish(recipe.output_dir, progress.folder, progress.published())

    def read(self, recipe: Recipe) -> Any:
        """Read and check its settings in a recipe."""
        forwards_to = self.forwards_to(recipe) if self.forwards_to else None
        settings: Any = recipe.read(self.name, self.settings, forwards_to=forwards_to, reserved=self.reserved)
        if self.check is not None:
            self.check(recipe, settings)
        return settings

    def try_settings(self, recipe: Recipe) -> None:
        """Raise now, and not hours later, what a setting or a missing file would cause; nothing is written."""
        settings = self.read(recipe)
        if self.tries is not None:
            self.tries(recipe, settings)
        if self.made_from is not None:
            self.made_from(recipe)

    def fingerprint(self, recipe: Recipe) -> str:
        """Changes with all that shapes the result, in this stage or in one that it needs, and with nothing else."""
        return fingerprint(self.result_settings(recipe))

    def result_settings(self, recipe: Recipe) -> dict[str, Any]:
        """All that shapes the result, as `started.json` keeps it; of stages that it needs, their fingerprints."""
        settings = self.read(recipe)
        content: dict[str, Any] = {"stage": self.name, "revision": self.revision, "world": recipe.world}
        if self.name != "collect":  # episodes are stored whole, whatever the windows
            content["windows"] = dataclasses.asdict(recipe.windows)
        if not self.shares_seeds:
            content["seed"] = recipe.seed
        made_from = None if self.made_from is None else with_content(self.made_from(recipe))
        if made_from is not None:
            content["made_from"] = made_from
        content["settings"] = self._settings_by_content(settings, is_made_from=made_from is not None)
        sources = own_sources(content) | module_sources(world_source(recipe).__module__)
        if "." in recipe.world:
            sources |= module_sources(recipe.world)
        if sources:
            content["sources"] = sources
        content["after"] = {earlier: find_stage(earlier).fingerprint(recipe) for earlier in self.needs(recipe)}
        return content

    def _settings_by_content(self, settings: Any, *, is_made_from: bool) -> dict[str, Any]:
        """Settings that shape the result; what they name on disk counts by what it holds, wherever it is."""
        content = settings_of_result(settings)
        if "bf16" in content:
            content["bf16"] = _resolved_precision(settings.bf16)
        for name in self.by_content:
            content.pop(name, None)
        if self.name == "collect" and is_made_from and FORWARDED in content:
            # Of a folder of recorded data, the files that are read count, under `made_from`.
            forwarded = content[FORWARDED].items()
            content[FORWARDED] = {name: value for name, value in forwarded if not isinstance(value, Path)}
        return with_content(content)

    def _prepare(self, recipe: Recipe, progress: Progress, processes: Processes) -> StageRun:
        return StageRun(
            recipe=recipe, settings=self.read(recipe), folder=progress.folder, clock=Clock(), processes=processes
        )

    def _run(self, recipe: Recipe, progress: Progress, processes: Processes) -> None:
        run = self._prepare(recipe, progress, processes)
        if processes.is_first:
            resumes = progress.start(self.result_settings(recipe))
            outputs.note_current(progress.folder)
            logger.info("%s: %s in %s", self.name, "resuming" if resumes else "running", progress.folder)
        if self.shares_processes:
            # The first process makes the folder, so no other works in it before that.
            processes.wait()
        try:
            made = self.work(run)
        except BaseException as error:
            if processes.is_first:
                progress.stop(error)
            raise
        if processes.is_first:
            progress.finish(seconds=run.clock.seconds, outputs=made)


def stage(
    *,
    settings: type,
    revision: int = 1,
    after: tuple[str, ...] = (),
    also_after: tuple[str, ...] = (),
    makes: tuple[str, ...] = (),
    forwards_to: Callable[[Recipe], Callable[..., Any]] | None = None,
    reserved: tuple[str, ...] = (),
    made_from: Callable[[Recipe], Any] | None = None,
    by_content: tuple[str, ...] = (),
    check: Callable[[Recipe, Any], None] | None = None,
    tries: Callable[[Recipe, Any], None] | None = None,
    answers: Callable[[Recipe], bool] | None = None,
    shares_seeds: bool = False,
    shares_processes: bool = False,
) -> Callable[[Callable[[StageRun], list[Path]]], Stage]:
    """Make a [`Stage`][] of a function; the arguments are its fields."""

    def decorate(work: Callable[[StageRun], list[Path]]) -> Stage:
        return Stage(
            name=work.__name__,
            settings=settings,
            revision=revision,
            after=after,
            also_after=also_after,
            makes=makes,
            work=work,
            forwards_to=forwards_to,
            reserved=reserved,
            made_from=made_from,
            by_content=by_content,
            check=check,
            tries=tries,
            answers=answers,
            shares_seeds=shares_seeds,
            shares_processes=shares_processes,
        )

    return decorate


def needed_stages(names: Iterable[str], recipe: Recipe | None = None) -> list[str]:
    """
    Stages in the order to run them: each after those it needs, and none twice.

    Args:
        names (`Iterable[str]`):
            Names of stages.
        recipe (`Recipe`, *optional*):
            The recipe, which may ask for stages that others use only then.

    Returns:
        `list[str]`: These stages and those that they need.

    Example:

    ```python
    >>> needed_stages(["grpo"])
    ['collect', 'tokenizer', 'pretrain', 'grpo']

    ```
    """
    needed: dict[str, None] = {}
    for name in names:
        needed |= dict.fromkeys([*needed_stages(find_stage(name).needs(recipe), recipe), name])
    return list(needed)


def settle(recipe: Recipe, names: Iterable[str]) -> Recipe:
    """
    Check the settings of some stages and of those they need, and read the words of the command line as their types.

    Args:
        recipe (`Recipe`):
            The recipe.
        names (`Iterable[str]`):
            The stages.

    Returns:
        `Recipe`: The recipe; parts of other stages stay as they were given.

    Raises:
        ValueError: If a key is unknown or missing, or a value out of range.
        SettingTypeError: If a value has another type than its key.
    """
    sections = dict(recipe.sections)
    for name in needed_stages(names, recipe):
        settings = find_stage(name).read(recipe)
        # `run` runs the stages that have a part in the recipe: none is added here.
        if name in sections:
            sections[name] = settled(sections[name], settings)
    return dataclasses.replace(recipe, sections=sections)


def try_stages(recipe: Recipe, names: Iterable[str]) -> None:
    """
    Try every setting of some stages and of those they need, before anything is written, trained or deleted.

    Args:
        recipe (`Recipe`):
            The recipe.
        names (`Iterable[str]`):
            The stages.

    Raises:
        ValueError: If a stage could not use a setting.
        SettingTypeError: If a value has another type than its key.
        FileNotFoundError: If a file or folder that the recipe names is not there.

    Example:

    ```python
    >>> from rlvr_world_hf.runs.recipe import load_recipe
    >>> try_stages(load_recipe("pusht/debug"), ["grpo"])

    ```
    """
    stages = [find_stage(name) for name in needed_stages(names, recipe)]
    for stage in stages:
        stage.read(recipe)  # the cheap check of all comes first
    processes = Processes()
    try:
        for stage in stages:
            stage.try_settings(recipe)
    except Exception:
        processes.part()
        raise


def run_stages(recipe: Recipe, names: Iterable[str]) -> None:
    """
    Try the settings of some stages and of those they need, then run what is not finished.

    Args:
        recipe (`Recipe`):
            The recipe.
        names (`Iterable[str]`):
            The stages.

    Raises:
        RunInUseError: If there is something to run, and another process works in the run's folder.
        RunFolderError: If a user's own file lies where a checkpoint of the run would be shown.
        KeyboardInterrupt: With a note on what is kept.
    """
    names = needed_stages(names, recipe)
    try_stages(recipe, names)
    stages = [find_stage(name) for name in names]
    first = Processes().is_first
    works = any(stage.needs_work(recipe) for stage in stages)
    # Reading a finished run needs no lock; of several processes, the first holds it for all.
    with locked(recipe.output_dir) if first and works else nullcontext():
        if first and works:
            remove_drafts(recipe.output_dir, nested=True)
            outputs.adopt(recipe.output_dir)
            outputs.refuse_occupied(recipe.output_dir, [name for stage in stages for name in stage.makes])
            note_asked(recipe.output_dir, recipe.name, names)
        for number, stage in enumerate(stages):
            try:
                stage.run_alone(recipe)
            except KeyboardInterrupt as interrupt:
                interrupt.add_note(what_is_kept(stage.progress(recipe).folder, finished=names[:number]))
                raise
            if first and works:
                stage.publish(recipe)
    if first and not works:
        _show_again(recipe, stages)


def _show_again(recipe: Recipe, stages: list[Any]) -> None:
    """Point a run's folder to what was finished with these settings, where it shows that of others."""
    progresses = [stage.progress(recipe) for stage in stages]
    if all(outputs.shows(recipe.output_dir, progress.folder, progress.published()) for progress in progresses):
        return
    try:
        with locked(recipe.output_dir):
            for stage in stages:
                stage.publish(recipe)
    except (RunInUseError, OSError) as error:  # another process trains there, or nothing can be written
        logger.warning("%s shows the results of other settings, and stays so: %s", recipe.output_dir, error)


def find_stage(name: str) -> Any:
    """
    A stage by its name.

    Args:
        name (`str`):
            Its name: also that of its file in `stages/`.

    Returns:
        [`Stage`][]: typed as `Any`, since each file makes its own by a decorator.
    """
    return getattr(import_module(f".stages.{name}", __package__), name)


def stage_folder(recipe: Recipe, name: str) -> Path:
    """
    Where a stage of a run keeps what it makes with the settings of a recipe; the run's output folder points to it.

    Args:
        recipe (`Recipe`):
            The recipe.
        name (`str`):
            The stage.

    Returns:
        `Path`: the folder, `stages/<stage>/<fingerprint>` in the run's.
    """
    return find_stage(name).progress(recipe).folder


def checkpoint_folder(recipe: Recipe, checkpoint: str) -> Path:
    """
    Where a checkpoint of a run lies, made with the settings of a recipe.

    Args:
        recipe (`Recipe`):
            The recipe.
        checkpoint (`str`):
            `codec`, `text_tokenizer`, `base`, `control`, `control_equal_prompts`, `rlvr` or `straight_through`.

    Returns:
        `Path`: the folder; it exists when the stage that makes it is finished.
    """
    return stage_folder(recipe, stage_that_makes(checkpoint)) / checkpoint


def stage_that_makes(checkpoint: str) -> str:
    """
    The stage that makes a checkpoint.

    Args:
        checkpoint (`str`):
            Its name.

    Returns:
        `str`: the stage's name.

    Example:

    ```python
    >>> stage_that_makes("rlvr")
    'grpo'

    ```
    """
    return next(name for name in STAGES if checkpoint in find_stage(name).makes)


def finished_seconds(recipe: Recipe, name: str) -> float:
    """
    How long a finished stage computed.

    Args:
        recipe (`Recipe`):
            The recipe.
        name (`str`):
            The stage.

    Returns:
        `float`: seconds; interrupted attempts count up to their last checkpoint.
    """
    return find_stage(name).progress(recipe).record()["seconds"]


def _resolved_precision(setting: Any) -> bool:
    from .precision import use_bfloat16

    return use_bfloat16(setting, Processes().device)
