"""
A world model on disk or on the Hub: weights, configuration and processor in one folder.

    config.json, model.safetensors                                   the transformer, readable by transformers alone
    processor_config.json, tokenizer.json, tokenizer_config.json     the processor: layout, action ranges, fps
    codec/config.json, codec/diffusion_pytorch_model.safetensors     the visual tokenizer, if there are frames
"""

import copy
import importlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from .download import local_folder
from .official import find_official, load_official


PROCESSORS = "rlvr_world_hf.processors"  # where `processor_class` of a saved processor is looked up
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")
DOCUMENTS = (".md", ".png", ".gif")  # kept when a checkpoint is replaced, as is results.json


def save_world_model(folder: str | os.PathLike[str], model: PreTrainedModel, processor: Any) -> Path:
    """
    Save a model with its processor so that [`load_world_model`] gives identical predictions.

    The folder appears as a whole: it is written beside its place and then renamed, so an interrupted save leaves what
    was there before. A checkpoint that stands there is replaced; its card, figures and `results.json` stay. Weights
    are safetensors. A PEFT model is saved with its adapter merged.

    Args:
        folder (`str` or `PathLike`):
            Where. It must not exist, be empty, or hold a checkpoint.
        model (`PreTrainedModel`):
            The transformer.
        processor (`WorldModelProcessor`):
            The processor it was trained with.

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
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        _merged(model).save_pretrained(temporary)
        processor.save_pretrained(temporary)
        _keep_documents(target, temporary)
        temporary.chmod(0o755)  # mkdtemp makes folders private to the user
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
    Load what [`save_world_model`] wrote, from a folder or from a Hub repository; or a world model of RLVR-World's
    authors, such as `thuml/rt1-world-model-multi-step-rlvr`, with the processor that belongs to it.

    Only safetensors are read, of the authors' also pickled weights, without running the code that may be in them.

    Args:
        folder_or_repo (`str` or `PathLike`):
            A folder, or the id of a Hub repository (`"owner/name"`).
        revision (`str`, *optional*):
            Branch, tag or commit of the repository.
        token (`str` or `bool`, *optional*):
            Hub token for a private repository.
        device (`str` or `torch.device`, *optional*):
            Where to put model and codec. Defaults to the CPU.
        dtype (`torch.dtype`, *optional*):
            Type of the transformer's weights. Defaults to the type they were saved in.

    Returns:
        `tuple`: the model, in evaluation mode, and its processor.

    Raises:
        `FileNotFoundError`: If the folder does not exist or lacks a file; it names which.
        `ValueError`: If the weights are pickled, or the processor's class is not known.

    Example:

    ```python
    >>> load_world_model("outputs/no-such-run/rlvr")
    Traceback (most recent call last):
    ...
    FileNotFoundError: There is no checkpoint folder outputs/no-such-run/rlvr; `rlvr-world run RECIPE` makes one.

    ```
    """
    if find_official(folder_or_repo) is not None:
        model, processor = load_official(folder_or_repo, revision=revision, token=token, dtype=dtype)
    else:
        folder = local_folder(folder_or_repo, revision=revision, token=token, ignored=PICKLES)
        _refuse_incomplete(folder)
        model = AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, dtype="auto" if dtype is None else dtype
        )
        processor = _processor_class(folder).from_pretrained(folder)
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
            The policy, changed in place; elsewhere than on a CPU it keeps what it has.
        device (`torch.device`, *optional*):
            Where it will compute; where it is by default.

    Returns:
        `PreTrainedModel`: the same.
    """
    if (model.device if device is None else device).type == "cpu":
        model.set_attn_implementation("eager")
    return model


def _merged(model: PreTrainedModel) -> PreTrainedModel:
    return copy.deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model


def _keep_documents(old: Path, new: Path) -> None:
    for file in old.iterdir() if old.is_dir() else ():
        is_document = file.is_file() and (file.suffix in DOCUMENTS or file.name == "results.json")
        if is_document and not (new / file.name).exists():
            shutil.copy2(file, new / file.name)


def _replace(target: Path, new: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
    target.rename(aside / target.name)
    new.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def _refuse_incomplete(folder: Path) -> None:
    settings = folder / "processor_config.json"
    has_codec = not settings.is_file() or "codec" in json.loads(settings.read_text(encoding="utf-8"))
    for needed in ("config.json", "processor_config.json", *(["codec/config.json"] if has_codec else [])):
        if not (folder / needed).is_file():
            raise FileNotFoundError(
                f"{folder} is not a world model: it has no {needed}. Save one with `save_world_model`; it writes "
                "model, processor and codec."
            )
    for part in (folder, *([folder / "codec"] if has_codec else [])):
        if any(part.glob("*.safetensors")):
            continue
        pickled = sorted(file.name for pattern in PICKLES for file in part.glob(pattern))
        if pickled:
            raise ValueError(
                f"The weights in {part} are pickled ({', '.join(pickled)}), and unpickling runs code: refused. "
                "Ask for or convert to safetensors."
            )
        raise FileNotFoundError(f"{part} has no weights: expected a .safetensors file. Save or download it again.")


def _processor_class(folder: Path) -> Any:
    saved = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
    name = str(saved.get("processor_class", "VideoWorldModelProcessor"))
    room = importlib.import_module(PROCESSORS)
    if not hasattr(room, name):
        raise ValueError(
            f"{folder} was saved with the processor class {name!r}, which {PROCESSORS} does not have; it offers "
            f"{', '.join(sorted(dir(room)))}. Update the library."
        )
    return getattr(room, name)
