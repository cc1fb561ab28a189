"""
A world model on disk or on the Hub: weights, configuration and processor in one folder.

    config.json, model.safetensors                                   the transformer, readable by transformers alone
    processor_config.json, tokenizer.json, tokenizer_config.json     the processor: layout, action ranges, fps
    codec/config.json, codec/diffusion_pytorch_model.safetensors     the visual tokenizer, if there are frames; of a
                                                                     bundled checkpoint, its name in processor_config
    adapter_config.json, adapter_model.safetensors                   an adapter of the transformer, if it is kept apart
    inverse/config.json, inverse/model.safetensors                   the inverse model that it was rewarded by, if any
"""

import copy
import importlib
import inspect
import os
import posixpath
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import list_repo_files
from huggingface_hub.errors import HfHubHTTPError
from peft import PeftModel
from transformers import PreTrainedModel

from ..data.drafts import draft_path
from ..processors.base import WorldModelProcessor
from ..processors.weights import read_settings
from ..rewards.inverse_dynamics import FOLDER as INVERSE
from ..rollouts.shared_prompt import SUFFIX
from .download import local_folder
from .example import EXAMPLE
from .official import find_official, load_official
from .transformer import CANNOT_BE_BUILT, load_adapter, load_transformer, refuse_small_vocabulary


PROCESSORS = "rlvr_world_hf.processors"  # where `processor_class` of a saved processor is looked up
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
DOCUMENTS = (".md", ".png", ".gif")  # kept when a checkpoint is replaced, as are these files
MEASURED_AND_RECORDED = ("results.json", EXAMPLE)


def save_world_model(
    folder: str | os.PathLike[str],
    model: PreTrainedModel | PeftModel,
    processor: Any,
    *,
    merge_adapter: bool = True,
    inverse_model: PreTrainedModel | None = None,
) -> Path:
    """
    Save a model with its processor so that [`load_world_model`] gives identical predictions.

    The folder appears as a whole: it is written beside its place and then renamed, so an interrupted save leaves what
    was there before. A checkpoint that stands there is replaced; its card, figures and `results.json` stay. Weights
    are safetensors.

    Args:
        folder (`str` or `PathLike`):
            Where. It must not exist, be empty, or hold a checkpoint.
        model (`PreTrainedModel` or `PeftModel`):
            The transformer.
        processor (`WorldModelProcessor`):
            The processor it was trained with.
        merge_adapter (`bool`, *optional*, defaults to `True`):
            Of a PEFT model: whether to merge the adapter, so that transformers alone reads the result; or to keep it
            apart, with the model it adapts beside it.
        inverse_model (`InverseDynamicsModel`, *optional*):
            The inverse model that it was rewarded by, saved beside it; `load_inverse_model` finds it there.

    Returns:
        `Path`: the folder.

    Raises:
        `ValueError`: If the folder holds something that is not a checkpoint.

    Example:

    ```python
    >>> from rlvr_world_hf import CompressiveTokenizer, VideoWorldModelProcessor
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [0.0, 0.0], [512.0, 512.0])
    >>> sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=processor.layout.vocabulary_size, **sizes))
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = save_world_model(Path(parent, "world"), model, processor)
    ...     sorted(file.name for file in folder.glob("*.safetensors"))
    ['model.safetensors']

    ```
    """
    target = Path(folder).absolute()
    if target.exists() and not target.is_dir():
        raise ValueError(f"A checkpoint is a folder, but {folder} is a file; give another name.")
    if target.is_dir() and any(target.iterdir()) and not (target / "config.json").is_file():
        raise ValueError(f"{folder} holds files, but no checkpoint to replace; give a new or empty folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = draft_path(target)
    temporary.mkdir()
    try:
        _save_model(temporary, model, merge_adapter=merge_adapter)
        processor.save_pretrained(temporary)
        if inverse_model is not None:
            inverse_model.save_pretrained(temporary / INVERSE)
        _keep_documents(target, temporary)
        _replace(target, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Path(folder)


def load_world_model(
    folder_or_repo: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[PreTrainedModel, Any]:
    """
    Load what [`save_world_model`] wrote, from a folder, by the short name of a checkpoint that ships with the library,
    or from a Hub repository, where [`push_checkpoint`] brings it; or a world model of RLVR-World's authors, such as
    `thuml/rt1-world-model-multi-step-rlvr`, with the processor that belongs to it.

    Only safetensors are read, of the authors' also pickled weights, without running the code that may be in them.

    Args:
        folder_or_repo (`str` or `PathLike`):
            A folder; a bundled name such as `"pusht-rlvr"`, see [`bundled_names`]; or the id of a Hub repository
            (`"owner/name"`). A folder that exists comes first.
        revision (`str`, *optional*):
            Branch, tag or commit of the repository.
        token (`str` or `bool`, *optional*):
            Hub token for a private repository.
        device (`str` or `torch.device`, *optional*):
            Where to put model and codec. Defaults to the CPU.
        dtype (`torch.dtype`, *optional*):
            Type of the transformer's weights. Defaults to float32 on a CPU, where few processors multiply numbers of
            16 bits as fast and predictions are to be the same on all of them; elsewhere to the type of the file.

    Returns:
        `tuple`: the model, in evaluation mode, and its processor. Where an adapter was kept apart the model is a
        `PeftModel`; its base is the one saved beside it, or, where peft alone saved it, the one it names.

    Raises:
        `FileNotFoundError`: If the folder does not exist or lacks a file, or nothing has the name; it names which.
        `ValueError`: If the weights are pickled, a file is damaged, or the processor's class is not known; if the
            files lack tensors that the settings declare, or hold others, or numbers that are integers or not finite;
            or if the model is no causal language model with the processor's vocabulary.

    Example:

    ```python
    >>> load_world_model("outputs/no-such-run/rlvr")
    Traceback (most recent call last):
    ...
    FileNotFoundError: There is no checkpoint folder outputs/no-such-run/rlvr; `rlvr-world run RECIPE` makes one.

    ```
    """
    if dtype is None and torch.device(device or "cpu").type == "cpu":
        dtype = torch.float32
    if find_official(folder_or_repo) is not None:
        model, processor = load_official(folder_or_repo, revision=revision, token=token, dtype=dtype)
    else:
        folder = local_folder(folder_or_repo, revision=revision, token=token, ignored=PICKLES)
        name = str(folder_or_repo)
        is_local = Path(name).is_dir() or "/" not in name
        not_downloaded = list if is_local else partial(_pickles_of_repository, name, revision, token)
        refuse_incomplete(folder, name=name, not_downloaded=not_downloaded)
        model = _load_model(folder, token=token, dtype="auto" if dtype is None else dtype)
        processor = load_processor(folder)
    refuse_small_vocabulary(model, processor, name=str(folder_or_repo))
    if device is not None:
        model.to(device)
        processor.to(device)
    return choose_attention(model.eval()), processor


def choose_attention(model: PreTrainedModel, device: torch.device | None = None) -> PreTrainedModel:
    """
    Plain attention on a CPU, where PyTorch's fused kernel is slower on sequences as short as those of world models: a
    likelihood update of 64 sequences of 106 tokens took 0.50 s with the former and 0.82 s with the latter.

    Args:
        model (`PreTrainedModel`):
            The policy, changed in place. Elsewhere than on a CPU it has what it had before it was changed for one.
        device (`torch.device`, *optional*):
            Where it will compute; where it is by default.

    Returns:
        `PreTrainedModel`: the same.
    """
    present = model.config._attn_implementation.removesuffix(SUFFIX)
    wanted = getattr(model, "attention_elsewhere", present)
    if (model.device if device is None else device).type == "cpu":
        model.attention_elsewhere, wanted = wanted, "eager"
    if wanted != present:
        model.set_attn_implementation(wanted)
    return model


def load_processor(folder: Path) -> Any:
    """
    The processor of a folder that holds a checkpoint.

    Args:
        folder (`Path`):
            The folder.

    Returns:
        `WorldModelProcessor`: of the class that its settings name.

    Raises:
        `FileNotFoundError`: If its settings name a codec that is not there.
        `ValueError`: If settings, tokenizer and codec are damaged or do not fit together; the error names the folder.
    """
    processor_class = _processor_class(folder)
    try:
        return processor_class.from_pretrained(folder)
    except OSError as error:
        # Those without a number are of a library that misses a file; the system's have one.
        is_told = isinstance(error, FileNotFoundError) and str(folder) in str(error)
        if error.errno is not None or is_told:
            raise
        raise FileNotFoundError(f"{folder} names parts of its processor that are not there: {_told(error)}") from error
    except Exception as error:
        # tokenizers raises plain ones for JSON that is no tokenizer.
        is_refusal = isinstance(error, (*CANNOT_BE_BUILT, ValueError)) or type(error) is Exception
        if not is_refusal or str(folder) in str(error):
            raise
        for name in TOKENIZER_FILES:
            if (folder / name).is_file():
                read_settings(folder / name)  # names the one that is damaged
        raise ValueError(
            f"Expected in {folder} settings, tokenizer and codec of a {processor_class.__name__}, got some that do "
            f"not fit together: {_told(error)}. Save or download the checkpoint again."
        ) from error


def _told(error: Exception) -> str:
    """What an error of another library says, in one line; the text of a KeyError and the like is no sentence."""
    told = f"{type(error).__name__}: {error}" if isinstance(error, CANNOT_BE_BUILT) else f"{error}"
    return " ".join(told.split()).rstrip(".")


def _save_model(folder: Path, model: PreTrainedModel | PeftModel, *, merge_adapter: bool) -> None:
    if not isinstance(model, PeftModel):
        model.save_pretrained(folder)
    elif merge_adapter:
        # In float32 where the adapted weights are bfloat16: rounded to that, many would not move at all.
        copy.deepcopy(model).float().merge_and_unload().save_pretrained(folder)
    else:
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)  # peft's
        copy.deepcopy(model).unload().save_pretrained(folder)


def _load_model(folder: Path, *, token: str | bool | None, dtype: Any) -> PreTrainedModel | PeftModel:
    adapter = folder / "adapter_config.json"
    place: Any = str(folder)
    source: dict[str, Any] = {}
    if not (folder / "config.json").is_file():  # an adapter as peft alone saves it, which names its base
        settings = read_settings(adapter)
        place, source = settings.get("base_model_name_or_path"), {"revision": settings.get("revision"), "token": token}
        if not isinstance(place, str):
            raise ValueError(
                f"Expected in {adapter} the name of the adapted model as `base_model_name_or_path`, got {place!r}. "
                "Save or download the adapter again."
            )
    elif adapter.is_file():  # the host would melt it into the model; looked for elsewhere, it is left for peft
        source = {"adapter_kwargs": {"subfolder": "none"}}
    model = load_transformer(place, dtype=dtype, **source)
    return load_adapter(model, folder) if adapter.is_file() else model


def _keep_documents(old: Path, new: Path) -> None:
    for file in old.iterdir() if old.is_dir() else ():
        is_document = file.is_file() and (file.suffix in DOCUMENTS or file.name in MEASURED_AND_RECORDED)
        if is_document and not (new / file.name).exists():
            shutil.copy2(file, new / file.name)


def _replace(target: Path, new: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    aside = draft_path(target, is_old=True)
    target.rename(aside)
    try:
        new.rename(target)
    except BaseException:  # also Ctrl-C
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def refuse_incomplete(folder: Path, *, name: str, not_downloaded: Callable[[], list[str]] = list) -> None:
    """
    Raises where a folder lacks what a world model needs.

    Args:
        folder (`Path`):
            The folder.
        name (`str`):
            What the checkpoint is called in the error.
        not_downloaded (`Callable[[], list[str]]`, *optional*):
            Names files that were left on the Hub; none by default.

    Raises:
        `FileNotFoundError`: If a file is missing; the error names it.
        `ValueError`: If its weights are pickled.
    """
    has_codec = holds_codec(folder)
    model = "adapter_config.json" if (folder / "adapter_config.json").is_file() else "config.json"
    for needed in (model, "processor_config.json", *(["codec/config.json"] if has_codec else [])):
        if not (folder / needed).is_file():
            raise FileNotFoundError(
                f"{name} is not a world model: it has no {needed}. Save one with `save_world_model`; it writes "
                "model, processor and codec."
            )
    for part in ("", *(["codec/"] if has_codec else [])):
        if any((folder / part).glob("*.safetensors")):
            continue
        where = name if not part else f"{name}/{part.rstrip('/')}"
        here = [file.relative_to(folder).as_posix() for file in (folder / part).glob("*")]
        pickled = sorted(
            file for file in (*here, *not_downloaded()) if is_pickle(file) and posixpath.dirname(file) == part[:-1]
        )
        if pickled:
            raise ValueError(
                f"The weights in {where} are pickled ({', '.join(pickled)}), and unpickling runs code: refused. "
                "Expected safetensors; ask for them, or convert."
            )
        raise FileNotFoundError(f"{where} has no weights: expected a .safetensors file. Save or download it again.")


def holds_codec(folder: Path) -> bool:
    """
    Whether a checkpoint's codec is among its own files.

    Args:
        folder (`Path`):
            The checkpoint.

    Returns:
        `bool`: False in a world without frames, and where the settings name a codec that ships with the library.
    """
    settings = folder / "processor_config.json"
    if not settings.is_file():
        return True
    codec = read_settings(settings).get("codec")
    if not isinstance(codec, dict | None):
        raise ValueError(
            f"Expected in {settings} as `codec` its class and place, a JSON object, got {codec!r}. Save or download "
            "the checkpoint again."
        )
    return codec is not None and "name" not in codec


def is_pickle(path: str) -> bool:
    """Whether a file, by its name, may run code when it is loaded."""
    return any(fnmatch(path, pattern) for pattern in PICKLES)


def _pickles_of_repository(repo_id: str, revision: str | None, token: str | bool | None) -> list[str]:
    """Pickled files of a repository, which are never downloaded; none where the Hub cannot be asked."""
    try:
        return [path for path in list_repo_files(repo_id, revision=revision, token=token) if is_pickle(path)]
    except (HfHubHTTPError, OSError):
        return []


def _processor_class(folder: Path) -> Any:
    name = read_settings(folder / "processor_config.json").get("processor_class", "VideoWorldModelProcessor")
    # The name comes from a stranger, and the room has more than processors: what Python adds to each module, too.
    offered = {
        known: found
        for known, found in vars(importlib.import_module(PROCESSORS)).items()
        if known[0] != "_" and _is_processor(found)
    }
    if not isinstance(name, str) or name not in offered:
        raise ValueError(
            f"{folder} was saved with the processor class {name!r}, which {PROCESSORS} does not have; it offers "
            f"{', '.join(sorted(offered))}. Update the library."
        )
    return offered[name]


def _is_processor(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, WorldModelProcessor) and not inspect.isabstract(found)
