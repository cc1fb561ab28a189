"""Bundle: a run's checkpoints as they come with the library, in bfloat16 and with one codec for all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from ...hub import load_world_model, save_world_model
from ...hub.terms import terms_of
from ...runs.echo import echo
from ...runs.locations import shipped_folder


USAGE = """usage: rlvr-world bundle RUN NAME

Puts the checkpoints base/ and rlvr/ of a run's output folder, rounded to bfloat16, into model_cards/NAME, from which
the playground plays them; `from_pretrained` loads them as NAME-base and NAME-rlvr. A codec equal to that of
model_cards/NAME-codec is left out, and the settings name this one; so is a base equal to model_cards/NAME-base, which
the playground plays in its place. With a NAME that ends in -base it is base/ alone, put into model_cards/NAME itself,
and recipes of that world may start from it. For those who maintain the library: the repository grows each time.
"""

CHECKPOINTS = ("base", "rlvr")
"""Checkpoints of a run that are bundled."""

BASE = "-base"
"""End of the name of a card whose folder is a single checkpoint."""

CODEC_WEIGHTS, POLICY_WEIGHTS = "diffusion_pytorch_model.safetensors", "model.safetensors"

LIMIT = 24 * 1024**2
"""Bytes that all bundled checkpoints may take."""


def bundle(words: Sequence[str]) -> int:
    """
    Bundle a run's checkpoints and say where they are.

    Args:
        words (`Sequence[str]`):
            The run's folder and the name of its card, as after `rlvr-world bundle`.

    Returns:
        `int`: 0, or 2 without both.

    Raises:
        FileNotFoundError: If a checkpoint is missing.
        ValueError: If the bundled checkpoints would take more than `LIMIT`; nothing is changed then.
    """
    if {"-h", "--help"} & set(words) or len(words) != 2:
        echo(USAGE)
        return 0 if {"-h", "--help"} & set(words) else 2
    for folder in bundle_checkpoints(Path(words[0]), words[1], into=shipped_folder("model_cards")):
        echo(f"{folder}: {_size(folder) / 1024**2:.1f} MiB")
    return 0


def bundle_checkpoints(run: Path, name: str, *, into: Path) -> list[Path]:
    """
    Put a run's checkpoints beside its card, or, for a card of a base, the base into the folder of the card.

    Args:
        run (`Path`):
            The output folder of a run.
        name (`str`):
            Folder of the card; a card of a base alone if it ends in `-base`. A base equal to such a one is left out.
        into (`Path`):
            Where the cards are.

    Returns:
        `list[Path]`: the folder of each checkpoint.

    Raises:
        FileNotFoundError: If a checkpoint is missing.
        ValueError: If the bundled checkpoints would take more than `LIMIT`, or their weights come with terms of
            others, such as Gemma's; nothing is changed then.
    """
    world, alone = name.removesuffix(BASE), name.endswith(BASE)
    checkpoints = CHECKPOINTS[:1] if alone else CHECKPOINTS
    # Beside their places, so that they can be renamed, and hidden from `_bundled` until then.
    made = {checkpoint: into / name / f".{checkpoint}" for checkpoint in checkpoints}
    try:
        for checkpoint, folder in made.items():
            model, processor = load_world_model(run / checkpoint)
            terms = terms_of(model.config.model_type)
            if terms is not None:
                raise ValueError(
                    f"Expected weights that may be committed under this library's licence, got {run / checkpoint}, "
                    f"under {terms.licence} terms; only their results may be committed."
                )
            save_world_model(folder, model.to(torch.bfloat16), processor)
            codec = folder / "codec"
            if codec.is_dir() and _is_same(codec, into / f"{world}-codec", CODEC_WEIGHTS):
                shutil.rmtree(codec)
                _name_codec(folder / "processor_config.json", f"{world}-codec")
        if not alone and _is_same(made["base"], into / f"{name}{BASE}", POLICY_WEIGHTS):
            shutil.rmtree(made.pop("base"))
        size = sum(map(_size, made.values())) + sum(_size(other) for other in _bundled(into) - _places(into, name))
        if size > LIMIT:
            raise ValueError(
                f"Expected bundled checkpoints of at most {LIMIT / 1024**2:.0f} MiB in all, got {size / 1024**2:.1f}; "
                "bundle a smaller policy."
            )
        for checkpoint, folder in made.items():
            if alone:
                # The card and its results lie in the same folder and stay.
                shutil.copytree(folder, into / name, dirs_exist_ok=True)
            else:
                shutil.rmtree(into / name / checkpoint, ignore_errors=True)
                folder.rename(into / name / checkpoint)
        for shared in set(checkpoints) - made.keys():
            shutil.rmtree(into / name / shared, ignore_errors=True)
    finally:
        for folder in made.values():
            shutil.rmtree(folder, ignore_errors=True)
    return sorted(filter(Path.is_dir, _places(into, name)))


def _places(into: Path, name: str) -> set[Path]:
    """Folders of the checkpoints of a card."""
    return {into / name} if name.endswith(BASE) else {into / name / checkpoint for checkpoint in CHECKPOINTS}


def _bundled(into: Path) -> set[Path]:
    """Folders of the checkpoints and codecs that are bundled; what is being made has a name that begins with a dot."""
    found = {file.parent for pattern in ("*/config.json", "*/*/config.json") for file in into.glob(pattern)}
    # A codec within a checkpoint is part of its size already.
    return {folder for folder in found if not folder.name.startswith(".") and folder.parent not in found}


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _name_codec(file: Path, name: str) -> None:
    """Makes a processor's settings name a bundled codec instead of one in a folder beside them."""
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["codec"] = {"class": settings["codec"]["class"], "name": name}
    file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _is_same(folder: Path, bundled: Path, weights: str) -> bool:
    """Whether two checkpoints have the same weights, whatever dtype they are stored in."""
    if not (bundled / weights).is_file():
        return False
    ours, theirs = (load_file(place / weights) for place in (folder, bundled))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name].float(), theirs[name].float()) for name in ours)
