"""Where a run stands: its last complete checkpoint, its updates and its seconds of training."""

import json
from pathlib import Path

from peft import PeftModel, set_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME as ADAPTER_WEIGHTS
from safetensors.torch import load_file, load_model
from transformers import PreTrainedModel, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import SAFE_WEIGHTS_NAME

from ..data.drafts import whole_file


SECONDS_FILE = "seconds.json"


def last_checkpoint(output_dir: str | Path) -> str | None:
    """
    The last checkpoint of a run that was written to its end; one that a kill left in pieces is passed over.

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
    folders = sorted(Path(output_dir).glob("checkpoint-*"), key=lambda folder: -int(folder.name.split("-")[-1]))
    return next((str(folder) for folder in folders if _is_complete(folder)), None)


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
    counts = _read_seconds(output_dir)
    return max((seconds for at, seconds in counts.items() if step is None or int(at) <= step), default=0.0)


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
    earlier = {at: count for at, count in _read_seconds(output_dir).items() if int(at) < step}
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
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _is_complete(checkpoint: Path) -> bool:
    # The trainer's state is what is written last.
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return False
    return True
