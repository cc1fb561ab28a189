"""Where a run stands: its last intact checkpoint, its updates and its seconds of training."""

import json
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft import PeftModel, set_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME as ADAPTER_WEIGHTS
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model
from transformers import PreTrainedModel, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import SAFE_WEIGHTS_NAME

from ..data.drafts import whole_file
from .manifest import DamagedFileError, damaged, describe


logger = logging.getLogger(__name__)

SECONDS_FILE = "seconds.json"

MANIFEST = "manifest.json"
"""In a checkpoint: what each of its files held when it was written."""

NEEDED = ("optimizer.pt", "scheduler.pt")
"""Files without which transformers would go on from a checkpoint with a fresh optimizer, and say nothing."""


def last_checkpoint(output_dir: str | Path) -> str | None:
    """
    The newest checkpoint of a run from which training can go on, with the best one that it names.

    One that a kill left in pieces is passed over; so is one whose files were damaged, with a warning that names them.

    Args:
        output_dir (`str` or `Path`):
            Folder of the run.

    Returns:
        `str`: The checkpoint's folder, to be given to `resume_from_checkpoint`; `None` if there is none.

    Example:

    ```python
    >>> import tempfile
    >>> last_checkpoint(tempfile.mkdtemp()) is None
    True

    ```
    """
    # By number: as text, `checkpoint-1000` comes before `checkpoint-200`.
    named = (path for path in Path(output_dir).glob("checkpoint-*") if path.name.split("-")[-1].isdigit())
    intact: list[Path] = []
    for folder in sorted(named, key=lambda path: -int(path.name.split("-")[-1])):
        losses = damages(folder)
        if not losses:
            intact.append(folder)
            best = best_checkpoint(folder)
            losses = [] if best == folder else damages(best)
            if not losses:
                return str(folder)
        logger.warning("Passing over %s: %s.", folder, "; ".join(losses))
    if not intact:
        return None
    logger.warning("Going on from %s, without the best checkpoint that it names, which was damaged.", intact[0])
    _forget_best(intact[0])
    return str(intact[0])


def best_checkpoint(checkpoint: str | Path) -> Path:
    """
    The best checkpoint up to one: what its trainer recorded, found again if the run's folder was moved since.

    Args:
        checkpoint (`str` or `Path`):
            Folder of the checkpoint.

    Returns:
        `Path`: Its folder; `checkpoint` itself where none was recorded.
    """
    try:
        recorded = checkpoint_state(checkpoint).best_model_checkpoint
    except (OSError, ValueError, TypeError):
        recorded = None
    if recorded is None:
        return Path(checkpoint)
    return Path(recorded) if Path(recorded).is_dir() else Path(checkpoint).parent / Path(recorded).name


def damages(checkpoint: str | Path) -> list[str]:
    """
    What is damaged or missing in a checkpoint.

    Args:
        checkpoint (`str` or `Path`):
            Its folder.

    Returns:
        `list[str]`: A sentence for each file, without its full stop; empty if the checkpoint is intact.
    """
    folder = Path(checkpoint)
    manifest = _read_mapping(folder / MANIFEST)
    if manifest:
        # One without an optimizer can be loaded, but training cannot go on from it.
        lacking = [] if _is_spread(folder) else NEEDED
        return damaged(folder, manifest) or [f"{folder} has no {name}" for name in lacking if name not in manifest]
    # Of an earlier version, or killed before the manifest was written: each file must be readable.
    return list(_unreadable(folder))


def write_manifest(checkpoint: str | Path) -> None:
    """
    Describes the files of a checkpoint, in it, so that damage is found before training goes on from it.

    Args:
        checkpoint (`str` or `Path`):
            Its folder, written whole.
    """
    file = Path(checkpoint, MANIFEST)
    file.unlink(missing_ok=True)  # of a checkpoint that was here before
    text = json.dumps(describe(Path(checkpoint)))
    with whole_file(file) as draft:
        draft.write_text(text, encoding="utf-8")


def refuse_damaged(checkpoint: str | Path, *, remedy: str) -> None:
    """
    Refuses a damaged checkpoint.

    Args:
        checkpoint (`str` or `Path`):
            Its folder.
        remedy (`str`):
            What to do, for the error.

    Raises:
        DamagedFileError: Naming what is damaged.
    """
    if losses := damages(checkpoint):
        raise DamagedFileError(
            f"{checkpoint}: expected the checkpoint as it was written, but {'; '.join(losses)}; {remedy}."
        )


def checkpoint_state(checkpoint: str | Path) -> TrainerState:
    """
    What transformers' trainer recorded beside a checkpoint: its update, history, and best checkpoint so far.

    Args:
        checkpoint (`str` or `Path`):
            Folder of the checkpoint.

    Returns:
        [`~transformers.TrainerState`]: The state.
    """
    return TrainerState.load_from_json(str(Path(checkpoint, TRAINER_STATE_NAME)))


def trained_seconds(output_dir: str | Path, step: int | None = None) -> float:
    """
    Seconds of training of a run up to a checkpoint, over all interruptions, as [`Clock`] counted them.

    Args:
        output_dir (`str` or `Path`):
            Folder of the run.
        step (`int`, *optional*):
            Update of the checkpoint; by default the last.

    Returns:
        `float`: 0 if no checkpoint was written.

    Example:

    ```python
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> write_seconds(folder, 50, 12.5), write_seconds(folder, 100, 25.0)
    (None, None)
    >>> trained_seconds(folder), trained_seconds(folder, 50)
    (25.0, 12.5)

    ```
    """
    counts = seconds_by_step(output_dir)
    return max((seconds for at, seconds in counts.items() if step is None or at <= step), default=0.0)


def seconds_by_step(output_dir: str | Path) -> dict[int, float]:
    """
    Seconds of training of a run up to each of its checkpoints, also those that are no longer kept.

    Args:
        output_dir (`str` or `Path`):
            Folder of the run.

    Returns:
        `dict[int, float]`: Update -> seconds; empty if no checkpoint was written.

    Raises:
        DamagedFileError: If the file cannot be read.
    """
    return {int(at): seconds for at, seconds in _read_seconds(output_dir).items()}


def write_seconds(output_dir: str | Path, step: int, seconds: float) -> None:
    """
    Adds the seconds of training at a checkpoint to the run's folder.

    Args:
        output_dir (`str` or `Path`):
            Folder of the run.
        step (`int`):
            Update of the checkpoint.
        seconds (`float`):
            Seconds of training until then.
    """
    # Later counts are of a run that was cut off behind this checkpoint, whose updates are made once more.
    earlier = {str(at): count for at, count in seconds_by_step(output_dir).items() if at < step}
    file = Path(output_dir, SECONDS_FILE)
    with whole_file(file) as draft:
        draft.write_text(json.dumps(earlier | {str(step): seconds}), encoding="utf-8")


def load_weights(model: PreTrainedModel | PeftModel, checkpoint: str | Path) -> None:
    """
    Puts the weights of a checkpoint into a model, those of its adapter if it has one.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The model, changed in place.
        checkpoint (`str` or `Path`):
            Folder of the checkpoint; its weights are safetensors.
    """
    if isinstance(model, PeftModel):
        set_peft_model_state_dict(model, load_file(Path(checkpoint, ADAPTER_WEIGHTS)))
    else:
        # Not `load_state_dict`: tied embeddings are stored once, and safetensors knows to whom they belong.
        load_model(model, Path(checkpoint, SAFE_WEIGHTS_NAME))


def _read_seconds(output_dir: str | Path) -> dict[str, float]:
    file = Path(output_dir, SECONDS_FILE)
    if not file.exists():
        return {}
    counts = _read_mapping(file)
    if not all(isinstance(seconds, (int, float)) and at.isdigit() for at, seconds in counts.items()) or not counts:
        raise DamagedFileError(
            f"{file}: expected the seconds of training at each checkpoint as JSON, and cannot read it; delete the "
            "file: training goes on from its last checkpoint, and the seconds until then are not counted."
        )
    return counts


def _read_mapping(file: Path) -> dict[str, Any]:
    """A mapping of a JSON file; empty where there is none, or none that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_spread(folder: Path) -> bool:
    """Whether weights and optimizer are spread over devices, in folders; a codec and other adapters have one, too."""
    return any(
        path.is_dir() and path.name != "codec" and not (path / "adapter_config.json").is_file()
        for path in folder.glob("*")
    )


def _forget_best(checkpoint: Path) -> None:
    """Take the best checkpoint out of what a trainer recorded."""
    state = checkpoint_state(checkpoint)
    state.best_model_checkpoint = state.best_metric = state.best_global_step = None
    state.save_to_json(str(checkpoint / TRAINER_STATE_NAME))
    write_manifest(checkpoint)


def _unreadable(folder: Path) -> Iterator[str]:
    # The trainer's state is what is written last.
    if not _read_mapping(folder / TRAINER_STATE_NAME):
        yield f"{folder / TRAINER_STATE_NAME} is missing or cannot be read"
    weights = list(folder.glob("*.safetensors"))
    if not _is_spread(folder):
        yield from (f"{folder / name} is gone" for name in NEEDED if not (folder / name).is_file())
        if not weights:
            yield f"{folder} has no weights such as {SAFE_WEIGHTS_NAME}"
    for file in weights:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            yield f"{file} cannot be read: {error}"
    for file in [*folder.glob("*.pt"), *folder.glob("*.pth")]:
        # Files of `torch.save` are archives with a checksum for each part.
        try:
            with zipfile.ZipFile(file) as archive:
                broken = archive.testzip()
        except (OSError, zipfile.BadZipFile) as error:
            yield f"{file} cannot be read: {error}"
        else:
            if broken is not None:
                yield f"{file} is damaged in {broken}"
