"""
The authors' visual tokenizers as ours, and ours as theirs: a table of names, and what their configuration means.

RLVR-World's code (https://github.com/thuml/RLVR-World) keeps a per-frame and a compressive tokenizer as `config.json`
and weights, whose parameters have other names and the same shapes as those of [`FrameTokenizer`] and
[`CompressiveTokenizer`].
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ..processors.weights import read_settings, refuse_excessive_layers, refuse_unusable_numbers, stored_tensors
from ..tokenizers import CompressiveTokenizer, FrameTokenizer


FSQ_LEVELS = {8: (8, 6, 5), 10: (8, 5, 5, 5), 12: (7, 5, 5, 5, 5), 14: (8, 8, 8, 6, 5), 16: (8, 8, 8, 5, 5, 5)}
"""Levels of each number of bits, as https://huggingface.co/papers/2309.15505 recommends them."""

FRAME_SIZE = (256, 320)
"""Height and width of RT-1's frames in the authors' data: no parameter of the per-frame tokenizer tells its size."""

FRAME_PARTS = {"quant_linear": "quantizer_in", "post_quant_linear": "quantizer_out"}
"""First components of the authors' names and of ours, where they differ: per-frame tokenizer."""

COMPRESSIVE_PARTS = {
    "encoder": "context_encoder",
    "decoder": "context_decoder",
    "cond_encoder": "dynamics_encoder",
    "cond_decoder": "dynamics_decoder",
    "quant_conv": "context_in",
    "post_quant_conv": "context_out",
    "quant_linear": "dynamics_in",
    "post_quant_linear": "dynamics_out",
}
"""The same of the compressive tokenizer."""

ATTENTION_PARTS = {
    "att": "attention",
    "q_norm": "query_norm",
    "kv_norm": "context_norm",
    "q_pos_emb": "query_position",
    "kv_pos_emb": "context_position",
}
"""Components within one of its conditioning attentions, `cross_att_blocks` there and `conditioning` here."""

WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
    "model.pth",
)
"""Files of weights that are looked for, in this order."""

Tokenizer = FrameTokenizer | CompressiveTokenizer


def from_official(
    config: Mapping[str, Any],
    state_dict: Mapping[str, torch.Tensor],
    *,
    image_size: tuple[int, int] | None = None,
) -> Tokenizer:
    """
    One of the authors' tokenizers as ours, with identical codes and frames.

    Args:
        config (`Mapping[str, Any]`):
            Their `config.json`. One with `dyn_fsq_levels` is of a compressive tokenizer.
        state_dict (`Mapping[str, torch.Tensor]`):
            Their parameters, under their names.
        image_size (`tuple[int, int]`, *optional*):
            Height and width of the frames in pixels. Of a compressive tokenizer its tables of positions tell them; a
            per-frame one takes frames of any size, here 256×320 if nothing else is said.

    Returns:
        `FrameTokenizer` or `CompressiveTokenizer`: in evaluation mode, float32.

    Raises:
        `ValueError`: If a number of the configuration is unknown here, or the parameters are not those that it asks
            for; it names the first of them.

    Example:

    ```python
    >>> config = {"block_out_channels": [16, 16], "norm_num_groups": 4, "latent_channels": 8, "layers_per_block": 1}
    >>> ours = FrameTokenizer(**frame_settings(config | {"fsq_levels": 10}, image_size=(16, 20)))
    >>> theirs = to_official(ours)
    >>> sorted(theirs)[-2:]
    ['quant_linear.bias', 'quant_linear.weight']
    >>> again = from_official(config | {"fsq_levels": 10}, theirs, image_size=(16, 20))
    >>> all(torch.equal(value, again.state_dict()[name]) for name, value in ours.state_dict().items())
    True

    ```
    """
    is_compressive = "dyn_fsq_levels" in config
    with torch.device("meta"):  # shapes without numbers: none is drawn only to be replaced
        tokenizer: Tokenizer = (
            CompressiveTokenizer(**compressive_settings(config, image_size or _coded_size(config, state_dict)))
            if is_compressive
            else FrameTokenizer(**frame_settings(config, image_size=image_size or FRAME_SIZE))
        )
    names = official_names(tokenizer)
    expected = {theirs: tokenizer.state_dict()[ours].shape for ours, theirs in names.items()}
    given = {name: value.shape for name, value in state_dict.items()}
    for name in [*expected, *given]:  # both: one may lack a parameter of the other
        if expected.get(name) != given.get(name):
            raise ValueError(
                f"Expected the parameters of this configuration's tokenizer; {name} is "
                f"{_shape(given.get(name))} instead of {_shape(expected.get(name))}. Give config and weights of one "
                f"checkpoint ({'compressive' if is_compressive else 'per-frame'}, by this config)."
            )
    weights = {ours: state_dict[theirs].float() for ours, theirs in names.items()}
    tokenizer.load_state_dict(weights, assign=True)  # into `meta` parameters nothing can be copied
    return tokenizer.eval()


def to_official(tokenizer: Tokenizer) -> dict[str, torch.Tensor]:
    """
    Parameters of a tokenizer under the authors' names.

    Args:
        tokenizer (`FrameTokenizer` or `CompressiveTokenizer`):
            One whose configuration theirs can express.

    Returns:
        `dict[str, torch.Tensor]`: their state dict, sharing memory with the tokenizer.

    Raises:
        `ValueError`: If it conditions by convolution, which theirs cannot.

    Example:

    ```python
    >>> tokenizer = FrameTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> [name for name in to_official(tokenizer) if name.startswith("quant")]
    ['quant_linear.weight', 'quant_linear.bias']

    ```
    """
    parameters = tokenizer.state_dict()
    return {theirs: parameters[ours] for ours, theirs in official_names(tokenizer).items()}


def official_names(tokenizer: Tokenizer) -> dict[str, str]:
    """
    The authors' name of each parameter.

    Args:
        tokenizer (`FrameTokenizer` or `CompressiveTokenizer`):
            The tokenizer.

    Returns:
        `dict[str, str]`: our name -> theirs.

    Raises:
        `ValueError`: If it conditions by convolution, which theirs cannot.
    """
    table = COMPRESSIVE_PARTS if isinstance(tokenizer, CompressiveTokenizer) else FRAME_PARTS
    theirs = {ours: official for official, ours in table.items()}
    within = {ours: official for official, ours in ATTENTION_PARTS.items()}
    names = {}
    for name in tokenizer.state_dict():
        part, *rest = name.split(".")
        if rest[0] == "conditioning":
            stage, inner, *rest = rest[1:]
            if inner not in within:
                raise ValueError(f"Expected attention to the context, got {name}; theirs has no other conditioning.")
            # Theirs counts the attentions alone, ours every stage.
            attentions = [
                number
                for number, module in enumerate(getattr(tokenizer, part).conditioning)
                if not isinstance(module, torch.nn.Identity)
            ]
            rest = ["cross_att_blocks", str(attentions.index(int(stage))), within[inner], *rest]
        names[name] = ".".join([theirs.get(part, part), *rest])
    return names


def load_official_tokenizer(folder: str | os.PathLike[str], *, image_size: tuple[int, int] | None = None) -> Tokenizer:
    """
    Read a folder of the authors: `config.json`, and weights as safetensors, `.bin` or `.pth`.

    Pickled weights are read without running the code they may hold (`weights_only=True`).

    Args:
        folder (`str` or `PathLike`):
            The folder.
        image_size (`tuple[int, int]`, *optional*):
            As in [`from_official`].

    Returns:
        `FrameTokenizer` or `CompressiveTokenizer`: in evaluation mode.

    Raises:
        `FileNotFoundError`: If the configuration or the weights are missing.
        `ValueError`: As [`from_official`]; or if the weights are not finite floating-point numbers.
    """
    folder = Path(folder)
    settings, weights = (
        folder / "config.json",
        next((folder / name for name in WEIGHTS if (folder / name).is_file()), None),
    )
    if not settings.is_file() or weights is None:
        raise FileNotFoundError(f"Expected config.json and one of {', '.join(WEIGHTS)} in {folder}.")
    state_dict = (
        load_file(weights)
        if weights.suffix == ".safetensors"
        else torch.load(weights, map_location="cpu", weights_only=True)
    )
    config = read_settings(settings)
    stored = stored_tensors(folder, weights.stem) if weights.suffix == ".safetensors" else {}
    if stored:
        refuse_excessive_layers(config, stored, place=folder)
    tokenizer = from_official(config, state_dict, image_size=image_size)
    refuse_unusable_numbers(tokenizer, stored, place=folder)
    return tokenizer


def frame_settings(config: Mapping[str, Any], *, image_size: tuple[int, int]) -> dict[str, Any]:
    """Arguments of [`FrameTokenizer`] for a configuration of the authors."""
    return {
        "image_size": image_size,
        "stem_patch_size": 1,
        "block_out_channels": tuple(config["block_out_channels"]),
        "layers_per_block": config["layers_per_block"],
        "norm_num_groups": config["norm_num_groups"],
        "latent_channels": config["latent_channels"],
        "levels": _levels(config["fsq_levels"]),
    }


def compressive_settings(config: Mapping[str, Any], image_size: tuple[int, int]) -> dict[str, Any]:
    """
    Arguments of [`CompressiveTokenizer`] for a configuration of the authors. Features attend to the context where they
    are at most `max_att_resolution` high in the encoder, and in the middle of the decoder.
    """
    channels = tuple(config["block_out_channels"])
    levels = len(channels)
    # A level's output is half as high as its input; that of the last is not.
    heights = [image_size[0] // 2 ** min(level + 1, levels - 1) for level in range(levels)]
    attended = ["attention" if height <= config["max_att_resolution"] else "none" for height in heights]
    return {
        "image_size": image_size,
        "stem_patch_size": 1,
        "block_out_channels": channels,
        "encoder_layers": config["layers_per_block"],
        "decoder_layers": config["layers_per_block"] + 1,  # as diffusers' own decoder, which theirs is made from
        "norm_num_groups": config["norm_num_groups"],
        "latent_channels": config["latent_channels"],
        "context_levels": _levels(config["vq_fsq_levels"]),
        "dynamics_levels": _levels(config["dyn_fsq_levels"]),
        "dynamics_patch_size": config.get("patch_size", 4),
        "context_frames": config["context_length"],
        "encoder_conditioning": ("none", *attended),
        "decoder_conditioning": ("attention", *["none"] * levels),
        "attention_dropout": 0.1,  # these two stand in their code and in no configuration
        "attention_norm_groups": 32,
        "context_mid_attention": config["mid_block_add_attention"],
        "value_range": (0.0, 1.0),
        "decode_from": "codes",
    }


def _levels(bits: int) -> tuple[int, ...]:
    if bits not in FSQ_LEVELS:
        raise ValueError(f"Expected a number of FSQ bits among {', '.join(map(str, FSQ_LEVELS))}, got {bits}.")
    return FSQ_LEVELS[bits]


def _coded_size(config: Mapping[str, Any], state_dict: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    """Height and width of the frames, of which the configuration tells the one and a table of positions the other."""
    table = "cond_decoder.cross_att_blocks.0.q_pos_emb"
    if table not in state_dict:
        raise ValueError(f"Expected {table} among the weights of a compressive tokenizer; give those of one.")
    shrunk = 2 ** (len(config["block_out_channels"]) - 1)
    rows = config["resolution"] // shrunk
    return config["resolution"], len(state_dict[table]) // rows * shrunk


def _shape(shape: torch.Size | None) -> str:
    return "missing" if shape is None else f"of shape {tuple(shape)}"
