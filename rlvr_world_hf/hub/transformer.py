"""
The transformer of a checkpoint, and its adapter if that is kept apart: loaded only if all their weights are there.

transformers and peft draw what is missing at random, and say so in a log; a world model would predict noise.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from peft import PeftModel, get_peft_model_state_dict
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedModel, __version__
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from ..processors.weights import (
    StoredTensor,
    read_settings,
    refuse_excessive_layers,
    refuse_excessive_sizes,
    refuse_other_tensors,
    refuse_unusable_numbers,
    stored_tensors,
)


WEIGHTS, ADAPTER_WEIGHTS = "model", "adapter_model"
"""Names of the files of weights, without their ending."""

CANNOT_BE_BUILT = (
    ArithmeticError,
    AttributeError,
    IndexError,
    KeyError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
)
"""What the classes of transformers raise for sizes that do not fit together."""

ADAPTED = "base_model.model."
"""What peft puts before the names of the model that is adapted."""


def load_transformer(
    place: str | Path, *, dtype: Any, only_safetensors: bool = True, allow_superfluous: bool = False, **source: Any
) -> PreTrainedModel:
    """
    Load a causal language model all of whose weights are there.

    Args:
        place (`str` or `Path`):
            Its folder, or a Hub repository.
        dtype (`torch.dtype` or `str`):
            Type of the weights; `"auto"` for the one that they were saved in.
        only_safetensors (`bool`, *optional*, defaults to `True`):
            Whether pickled weights are refused.
        allow_superfluous (`bool`, *optional*, defaults to `False`):
            Whether files may hold tensors that the model does not have.
        source (`dict[str, Any]`, *optional*):
            Further arguments of `from_pretrained`, such as `revision` and `token`.

    Returns:
        `PreTrainedModel`: the model, on the CPU.

    Raises:
        `FileNotFoundError`: If a file of weights is missing.
        `ValueError`: If the settings are of no causal language model; or tensors are missing or superfluous, have
            other shapes than the settings declare, or are not finite floating-point numbers.

    Example:

    ```python
    >>> import tempfile
    >>> from transformers import T5Config
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     T5Config().save_pretrained(folder)
    ...     load_transformer(folder, dtype="auto", only_safetensors=False)  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ...
    ValueError: Expected a causal language model, got model_type 't5' in ...

    ```
    """
    folder = Path(place)
    stored: dict[str, StoredTensor] = {}
    if folder.is_dir():
        stored = refuse_other_weights(folder, only_safetensors=only_safetensors)
    model, report = AutoModelForCausalLM.from_pretrained(
        place,
        dtype=dtype,
        use_safetensors=True if only_safetensors else None,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # to be named below, with the others
        **source,
    )
    refuse_other_tensors(
        place=folder,
        kind=model.config.model_type,
        missing=report["missing_keys"],
        superfluous=() if allow_superfluous else report["unexpected_keys"],
        misshapen=[name for name, *_ in report["mismatched_keys"]],
    )
    refuse_unusable_numbers(model, stored, place=folder)
    return model


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """
    Load the adapter of a model, all of whose weights are there.

    Args:
        model (`PreTrainedModel`):
            The model that is adapted; it is changed.
        folder (`Path`):
            Where `adapter_config.json` and the adapter's weights lie.

    Returns:
        `PeftModel`: both.

    Raises:
        `FileNotFoundError`: If it has no weights as safetensors.
        `ValueError`: If tensors of the adapter are missing or superfluous, have other shapes than its settings
            declare, or are not finite floating-point numbers.
    """
    stored = stored_tensors(folder, ADAPTER_WEIGHTS)
    if not stored:
        raise FileNotFoundError(f"{folder} has no {ADAPTER_WEIGHTS}.safetensors. Save or download it again.")
    settings = read_settings(folder / "adapter_config.json")
    largest = max(size for tensor in stored.values() for size in (0, *tensor.shape))
    for rank in (settings.get("r"), *(settings.get("rank_pattern") or {}).values()):
        if isinstance(rank, int) and rank > largest:
            raise ValueError(
                f"Expected in {folder}/adapter_config.json the rank of the adapter's weights, got {rank}, and weights "
                f"whose largest size is {largest}. Save or download it again."
            )
    own = {ADAPTED + name for name, _ in model.named_parameters(remove_duplicate=False)}  # peft may save embeddings
    with warnings.catch_warnings():
        for known in ("Found missing adapter keys", "Some weights of .* were not initialized"):  # an error below
            warnings.filterwarnings("ignore", known)
        adapted = PeftModel.from_pretrained(model, folder, ignore_mismatched_sizes=True)
    expected = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    refuse_other_tensors(
        place=folder,
        kind=f"{adapted.active_peft_config.peft_type.value} adapter",
        settings="adapter_config.json",
        missing=expected.keys() - stored.keys(),
        superfluous=stored.keys() - expected.keys() - own,
        misshapen=[name for name in expected.keys() & stored.keys() if expected[name].shape != stored[name].shape],
    )
    refuse_unusable_numbers(adapted, stored, place=folder)
    return adapted


def refuse_small_vocabulary(model: PreTrainedModel, processor: Any, *, name: str) -> None:
    """
    Raises where a model has fewer ids than its processor writes.

    Args:
        model (`PreTrainedModel`):
            The model.
        processor (`WorldModelProcessor`):
            The processor that lies beside it.
        name (`str`):
            What the checkpoint is called in the error.

    Raises:
        `ValueError`: If it has fewer.
    """
    layout = getattr(processor, "layout", None)
    # Of a language model's tokenizer without added tokens, for which embeddings may lack: nothing need write them.
    needed = processor.tokenizer.vocab_size if layout is None else layout.vocabulary_size
    given = model.get_input_embeddings().weight.shape[0]
    if given < needed:
        raise ValueError(
            f"Expected in {name} a model of at least the {needed} ids that its processor writes, got a "
            f"{model.config.model_type} of {given}. Save or download model and processor together again."
        )


def refuse_other_weights(folder: Path, *, only_safetensors: bool = True) -> dict[str, StoredTensor]:
    """
    Raises before anything is built that a folder's files cannot fill.

    Args:
        folder (`Path`):
            The folder.
        only_safetensors (`bool`, *optional*, defaults to `True`):
            Whether pickled weights are refused.

    Returns:
        `dict[str, StoredTensor]`: the tensors in its files, by name.

    Raises:
        `FileNotFoundError`: If a file of weights is missing.
        `ValueError`: If the settings are of no causal language model, or declare more than the files hold.
    """
    stored = stored_tensors(folder, WEIGHTS)
    if only_safetensors and not stored:
        raise FileNotFoundError(f"{folder} has no {WEIGHTS}.safetensors. Save or download it again.")
    settings = read_settings(folder / "config.json")
    model_type = settings.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise ValueError(
            f"Expected in {folder}/config.json a `model_type` of transformers {__version__}, such as 'llama', got "
            f"{model_type!r}. Save or download the checkpoint again, or update transformers if the type is newer."
        )
    if (folder / "generation_config.json").is_file():
        read_settings(folder / "generation_config.json")  # transformers passes over one that is cut
    if stored:
        refuse_excessive_layers(settings, stored, place=folder)
    declared = None
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        is_language_model = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
        if stored and is_language_model:
            with torch.device("meta"):  # shapes without numbers, which may be far too many
                declared = AutoModelForCausalLM.from_config(config)
    except (*CANNOT_BE_BUILT, ValueError) as error:
        raise ValueError(
            f"Expected in {folder}/config.json the settings of a model, got some that do not fit together: {error}. "
            "Save or download the checkpoint again."
        ) from error
    if declared is not None:
        refuse_excessive_sizes(declared, stored, place=folder, kind=config.model_type)
    if not is_language_model:
        raise ValueError(
            f"Expected a causal language model, got model_type {config.model_type!r} in {folder}/config.json. Save or "
            "download the checkpoint again."
        )
    return stored
