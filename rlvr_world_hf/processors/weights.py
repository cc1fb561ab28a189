"""
Whether the files of a checkpoint hold the weights that its settings declare. A library that loads them draws what is
missing at random, and predicts with it.

What is declared is compared with the headers of the files, which tell names, shapes and types of all tensors, before
anything of the declared size is built.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from diffusers import ModelMixin
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open


CODEC_WEIGHTS = "diffusion_pytorch_model"
"""Name of a codec's file of weights, without its ending."""

LAYERS = re.compile(r"(num|n|encoder|decoder)(_hidden|_encoder|_decoder)?_layers?|layers_per_block")
"""Settings that are numbers of layers: `num_hidden_layers`, `n_layer`, `encoder_layers` and the like."""

BUFFERS = 2**30
"""Bytes of buffers that any model may have."""

SHOWN = 3
"""Names of tensors in an error; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """A tensor in a file, as the file's header tells it."""

    shape: tuple[int, ...]
    """Its sizes."""

    dtype: str
    """Its type as safetensors abbreviates it, such as `"BF16"`."""


def read_settings(file: Path) -> dict[str, Any]:
    """
    The content of a file of settings, such as `config.json`.

    Args:
        file (`Path`):
            The file.

    Returns:
        `dict[str, Any]`: its keys and values.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read as JSON, or is JSON of another kind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "config.json")
        ...     _ = file.write_text("[]")
        ...     read_settings(file)
        Traceback (most recent call last):
        ValueError: Expected in ...config.json an object of JSON, got list []. Save or download the checkpoint again.
    """
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        given = f"{type(settings).__name__} {settings!r:.80}"
    except (RecursionError, ValueError) as error:  # ValueError: no JSON, or not UTF-8
        settings, given = None, f"text that cannot be read ({type(error).__name__}: {error})"
    if not isinstance(settings, dict):
        raise ValueError(f"Expected in {file} an object of JSON, got {given}. Save or download the checkpoint again.")
    return settings


def stored_tensors(folder: Path, name: str) -> dict[str, StoredTensor]:
    """
    Tensors in the safetensors of a folder, of which only the headers are read.

    Args:
        folder (`Path`):
            The folder.
        name (`str`):
            Name of the file without its ending, such as `"model"`; if it is not there, its index tells the files.

    Returns:
        `dict[str, StoredTensor]`: by name; empty if there are neither file nor index.

    Raises:
        FileNotFoundError: If the index names a file that is not there.
        ValueError: If a file is damaged, or the index names one outside the folder.

    Example:
        >>> import tempfile
        >>> from safetensors.torch import save_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_file({"weight": torch.zeros(2, 3)}, Path(folder, "model.safetensors"))
        ...     stored_tensors(Path(folder), "model")
        {'weight': StoredTensor(shape=(2, 3), dtype='F32')}
    """
    file, index = folder / f"{name}.safetensors", folder / f"{name}.safetensors.index.json"
    if file.is_file():
        files = [file]
    elif index.is_file():
        files = [folder / part for part in _parts_of(index)]
    else:
        return {}
    found = {}
    for part in files:
        if not part.is_file():
            raise FileNotFoundError(
                f"{folder} lacks {part.name}, which {index.name} names. Save or download it again."
            )
        try:
            with safe_open(part, framework="pt") as opened:
                for tensor in opened.keys():  # noqa: SIM118 - the file is no mapping
                    stored = opened.get_slice(tensor)
                    found[tensor] = StoredTensor(shape=tuple(stored.get_shape()), dtype=stored.get_dtype())
        except SafetensorError as error:
            raise ValueError(f"{part} is damaged ({error}). Save or download it again.") from error
    return found


def refuse_excessive_layers(settings: Any, stored: Mapping[str, StoredTensor], *, place: Path) -> None:
    """
    Raises where settings declare more layers than the files hold tensors, before a module is built for each.

    Args:
        settings (`Any`):
            The content of `config.json`.
        stored (`Mapping[str, StoredTensor]`):
            The tensors that are there.
        place (`Path`):
            The folder, for the error.

    Raises:
        ValueError: If there are more.

    Example:
        >>> refuse_excessive_layers({"num_hidden_layers": 9}, {}, place=Path("world"))
        Traceback (most recent call last):
        ValueError: Expected in world/config.json as many layers as the weights have, got num_hidden_layers 9, ...
    """
    for name, value in _numbers(settings):
        if LAYERS.fullmatch(name) and not value <= len(stored):
            raise ValueError(
                f"Expected in {place}/config.json as many layers as the weights have, got {name} {value}, and files "
                f"of {len(stored)} tensors in all. Save or download the checkpoint again."
            )


def refuse_excessive_sizes(
    declared: torch.nn.Module, stored: Mapping[str, StoredTensor], *, place: Path, kind: str
) -> None:
    """
    Raises where a model has more parameters than the files hold numbers, or needs far more memory beside them.

    Args:
        declared (`torch.nn.Module`):
            The model that the settings declare, on the device `meta`.
        stored (`Mapping[str, StoredTensor]`):
            The tensors that are there.
        place (`Path`):
            The folder, for the error.
        kind (`str`):
            What the settings say it is.

    Raises:
        ValueError: If it has more, or its buffers, such as a mask of the longest sequence squared, take more than the
            weights in float32 and `BUFFERS`.
    """
    beside = sum(buffer.numel() * buffer.dtype.itemsize for buffer in declared.buffers())
    expected = sum(parameter.numel() for parameter in declared.parameters())  # tied ones once
    given = sum(math.prod(tensor.shape) for tensor in stored.values())
    if expected > given:
        shapes = {tensor.shape for tensor in stored.values()}
        lacking = sorted(name for name, value in declared.named_parameters() if tuple(value.shape) not in shapes)
        raise ValueError(
            f"Expected in {place} the weights of the {kind} that its config.json declares, {expected} numbers, got "
            f"files of {given}{'; none has the shape of ' + _some(lacking) if lacking else ''}. Save or download it "
            "again, with its own config.json."
        )
    if beside > BUFFERS + 4 * given:
        raise ValueError(
            f"Expected of the {kind} that config.json declares in {place} at most {BUFFERS + 4 * given} bytes beside "
            f"its weights, got {beside}; its longest sequence may be wrong. Save or download it again, with its own "
            "config.json."
        )


def refuse_other_tensors(
    *,
    place: Path,
    kind: str,
    missing: Iterable[str],
    superfluous: Iterable[str],
    misshapen: Iterable[str] = (),
    settings: str = "config.json",
) -> None:
    """
    Raises where the tensors of the files are not those of the model.

    Args:
        place (`Path`):
            The folder, for the error.
        kind (`str`):
            What the settings say the model is.
        missing (`Iterable[str]`):
            Names of tensors that the files lack.
        superfluous (`Iterable[str]`):
            Names of tensors that the model does not have.
        misshapen (`Iterable[str]`, *optional*):
            Names of tensors of another shape than in the model.
        settings (`str`, *optional*, defaults to `"config.json"`):
            The file that declares the model.

    Raises:
        ValueError: If there are any.

    Example:
        >>> refuse_other_tensors(place=Path("world"), kind="llama", missing=["norm.weight"], superfluous=[])
        Traceback (most recent call last):
        ValueError: Expected in world the weights of the llama that its config.json declares, got: 1 missing ...
    """
    faults = {"missing": sorted(missing), "superfluous": sorted(superfluous), "of another shape": sorted(misshapen)}
    found = [f"{len(names)} {fault} ({_some(names)})" for fault, names in faults.items() if names]
    if found:
        raise ValueError(
            f"Expected in {place} the weights of the {kind} that its {settings} declares, got: {'; '.join(found)}. "
            f"Save or download it again, with its own {settings}."
        )


def refuse_unusable_numbers(model: torch.nn.Module, stored: Mapping[str, StoredTensor], *, place: Path) -> None:
    """
    Raises where weights were stored as integers, or are not finite.

    Args:
        model (`torch.nn.Module`):
            The model with its weights.
        stored (`Mapping[str, StoredTensor]`):
            The tensors in its files.
        place (`Path`):
            The folder, for the error.

    Raises:
        ValueError: If there are any.

    Example:
        >>> layer = torch.nn.Linear(1, 1)
        >>> _ = torch.nn.init.constant_(layer.bias, torch.nan)
        >>> refuse_unusable_numbers(layer, {}, place=Path("world"))
        Traceback (most recent call last):
        ValueError: Expected finite weights in world, got NaN or infinity in 1 tensor (bias). Train or download it ...
    """
    buffers = [f".{name}" for name, _ in model.named_buffers()]  # these may count, or be masks
    whole = {
        name: tensor.dtype
        for name, tensor in stored.items()
        if not tensor.dtype.startswith(("F", "BF")) and not any(buffer.endswith(f".{name}") for buffer in buffers)
    }
    if whole:
        raise ValueError(
            f"Expected floating-point weights in {place}, got {', '.join(sorted(set(whole.values())))} in "
            f"{_counted(whole)} ({_some(sorted(whole))}). Save it without quantization, or download it again."
        )
    broken = sorted(name for name, parameter in model.named_parameters() if not _is_finite(parameter))
    if broken:
        raise ValueError(
            f"Expected finite weights in {place}, got NaN or infinity in {_counted(broken)} ({_some(broken)}). Train "
            "or download it again."
        )


def load_whole_codec(codec_class: type[ModelMixin], place: str | Path, **source: Any) -> Any:
    """
    Load a codec all of whose weights are there.

    Args:
        codec_class (`type[ModelMixin]`):
            Its class.
        place (`str` or `Path`):
            Folder or Hub repository.
        source (`dict[str, Any]`, *optional*):
            Further arguments of its `from_pretrained`, such as `subfolder` and `revision`.

    Returns:
        `diffusers.ModelMixin`: the codec, float32.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If tensors are missing or superfluous, have other shapes than the settings declare, or are not
            finite floating-point numbers.
    """
    loading: Any = codec_class
    folder, kind = Path(place, source.get("subfolder") or ""), codec_class.__name__
    stored = stored_tensors(folder, CODEC_WEIGHTS)
    if not stored and Path(place).is_dir():  # diffusers would look for pickled ones
        raise FileNotFoundError(f"{folder} has no {CODEC_WEIGHTS}.safetensors. Save or download it again.")
    if stored:
        settings = read_settings(folder / "config.json")
        refuse_excessive_layers(settings, stored, place=folder)
        with torch.device("meta"):  # shapes without numbers, which may be far too many
            declared = loading.from_config(settings)
        refuse_excessive_sizes(declared, stored, place=folder, kind=kind)
        refuse_other_codec(declared, stored, place=folder)
    codec, report = loading.from_pretrained(place, output_loading_info=True, **source)
    refuse_other_tensors(
        place=folder, kind=kind, missing=report["missing_keys"], superfluous=report["unexpected_keys"]
    )
    stored = stored or stored_tensors(cached_codec_folder(place, **source), CODEC_WEIGHTS)
    refuse_unusable_numbers(codec, stored, place=folder)
    return codec


def refuse_other_codec(codec: torch.nn.Module, stored: Mapping[str, StoredTensor], *, place: Path) -> None:
    """
    Raises where the tensors of a codec's files are not those of its class, by name and shape.

    Args:
        codec (`torch.nn.Module`):
            The codec, with or without its weights.
        stored (`Mapping[str, StoredTensor]`):
            The tensors in its files.
        place (`Path`):
            The folder, for the error.

    Raises:
        ValueError: If they are not.
    """
    shapes = {name: tuple(value.shape) for name, value in codec.state_dict().items()}
    refuse_other_tensors(
        place=place,
        kind=type(codec).__name__,
        missing=shapes.keys() - stored.keys(),
        superfluous=stored.keys() - shapes.keys(),
        misshapen=[name for name in shapes.keys() & stored.keys() if shapes[name] != stored[name].shape],
    )


def cached_codec_folder(place: str | Path, **source: Any) -> Path:
    """
    Where a codec lies that was just loaded.

    Args:
        place (`str` or `Path`):
            Folder or Hub repository.
        source (`dict[str, Any]`, *optional*):
            What else its `from_pretrained` was given; `subfolder`, `revision` and `cache_dir` matter.

    Returns:
        `Path`: the folder, of a repository that in the cache.
    """
    folder = Path(place, source.get("subfolder") or "")
    if not folder.is_dir():
        file = Path(source.get("subfolder") or "", f"{CODEC_WEIGHTS}.safetensors").as_posix()
        given = {name: source[name] for name in ("revision", "cache_dir") if source.get(name)}
        cached = try_to_load_from_cache(str(place), file, **given)
        folder = Path(cached).parent if isinstance(cached, str) else folder
    return folder


def _parts_of(index: Path) -> list[str]:
    """The files that the index of sharded weights names; all lie beside it or below."""
    try:
        parts = sorted({*json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # the last: no JSON, or not UTF-8
        raise ValueError(
            f"Expected in {index} a `weight_map` from tensors to files, got none that can be read "
            f"({type(error).__name__}: {error}). Save or download it again."
        ) from error
    outside = [part for part in parts if not isinstance(part, str) or _leads_out(part)]
    if outside:
        raise ValueError(
            f"Expected in {index} files of its own folder, got {_some([repr(part) for part in outside])}, which would "
            "lie outside. Save or download it again from a source that you trust."
        )
    return parts


def _leads_out(path: str) -> bool:
    # By its text: in the Hub's cache, a file beside the index is a link to another folder.
    return any(kind(path).anchor or ".." in kind(path).parts for kind in (PurePosixPath, PureWindowsPath))


def _numbers(settings: Any) -> Iterator[tuple[str, float]]:
    """Names and values of all numbers in JSON settings, however deep."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            if isinstance(value, int | float):
                yield name, value
            else:
                yield from _numbers(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _numbers(value)


def _is_finite(parameter: torch.Tensor) -> bool:
    """Whether all numbers are: the least and the greatest are found without a copy, and NaN is passed on by both."""
    if not parameter.numel():
        return True
    # Types of eight bits cannot be compared.
    values = parameter.detach().float() if parameter.dtype.itemsize == 1 else parameter.detach()
    return bool(torch.stack(values.aminmax()).isfinite().all())


def _counted(names: Iterable[str]) -> str:
    number = len(list(names))
    return f"{number} tensor{'s' if number > 1 else ''}"


def _some(names: list[str]) -> str:
    return ", ".join([*names[:SHOWN], *(["…"] if len(names) > SHOWN else [])])
