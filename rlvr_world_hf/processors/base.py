"""
What every modality defines: the prompt, the completion, and how a completion is read back. Which tokens of a
completion the world writes is defined for step blocks only (`step_blocks.py`).

Also how a processor with a codec is saved and loaded.
"""

import inspect
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import AutoModel, ModelMixin
from huggingface_hub import CommitInfo, create_repo
from transformers import ProcessorMixin
from transformers.dynamic_module_utils import custom_object_save

from .weights import (
    CODEC_WEIGHTS,
    cached_codec_folder,
    load_whole_codec,
    refuse_other_codec,
    refuse_unusable_numbers,
    stored_tensors,
)


CODEC_FOLDER = "codec"
TRUSTED_PACKAGES = ("rlvr_world_hf", "diffusers")
AUTHORS, OFFICIAL = "thuml", "rlvr_world_hf.hub.official"
"""Owner of checkpoints without a processor, and the module that knows theirs. It is imported by name, for them
only, as this file also works where the library is not installed."""

BUNDLED = "rlvr_world_hf.hub.bundled"
"""The module that knows where a codec lies that ships with the library; it is imported for such a one alone."""

HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "token")


class Codec(Protocol):
    """What a processor needs of a visual tokenizer: a diffusers model between frames in `[0, 1]` and codes."""

    config: Any
    """`context_frames` (`int`; 0 if each frame is coded on its own), `image_size` (`(H, W)`)."""
    context_codebook_size: int
    dynamics_codebook_size: int
    context_grid: tuple[int, int]
    dynamics_grid: tuple[int, int]
    device: torch.device

    def encode_context(self, context_frames: torch.Tensor) -> torch.Tensor:
        """Codes `(B, K, Nc)` of context frames `(B, K, 3, H, W)`."""

    def encode(self, frames: torch.Tensor, *, context_frames: torch.Tensor) -> torch.Tensor:
        """Codes `(B, T, N)` of later frames `(B, T, 3, H, W)`."""

    def decode(self, codes: torch.Tensor, *, context_frames: torch.Tensor) -> torch.Tensor:
        """
        Frames `(B, T, 3, H, W)` of codes `(B, T, N)`; item `b` continues context `b // (B // B0)` of `B0`.

        A codec that lets gradients through also takes weights over its codebook, `(B, T, N, dynamics_codebook_size)`.
        """

    def eval(self) -> "Codec":
        """Sets evaluation mode."""

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Writes `config.json` and weights."""


class WorldModelProcessor(ProcessorMixin, ABC):
    """
    Writes a transition as tokens and reads it back; rollouts and trainers know a modality by these methods only.

    A subclass names in its constructor what it needs: a `tokenizer`, and, if it has one, the neural tokenizer as
    `codec`. All other arguments are JSON values, or objects with `to_dict`, kept under their own names; they are saved
    to `processor_config.json`, the codec to the folder `codec/`. The settings may name a codec that ships with the
    library instead: `{"class": ..., "name": "pusht-codec"}`.

    Attributes:
        predicts (`tuple[str, ...]`):
            Kinds of its states: `"frames"`, `"sensors"` or `"text"`. The columns of the first kind are `context`,
            `reference` and `predicted`; those of a second kind are `context_states`, `reference_states` and
            `predicted_states`.
        fixed_length (`bool`):
            Whether each position of a completion is known beforehand: who writes it, and which ids it may hold. If
            not, the model writes all of a completion and ends it by itself.
        prompt_columns (`tuple[str, ...]`):
            Columns of a row that the prompt is made from; keyword arguments of `encode_prompt`.
        reference_columns (`tuple[str, ...]`):
            Columns of a row that hold what is to be predicted.

    Example:
        >>> class Echo(WorldModelProcessor):
        ...     def __init__(self, fps=None):
        ...         self.fps = fps
        >>> Echo()
        Traceback (most recent call last):
        TypeError: Can't instantiate abstract class Echo with abstract methods decode_state, ...
    """

    predicts: tuple[str, ...] = ("frames",)
    prompt_columns: tuple[str, ...] = ("context", "actions")
    reference_columns: tuple[str, ...] = ("reference",)
    fixed_length: bool = True
    codec: Any = None

    @property
    def device(self) -> torch.device:
        """Device on which it encodes: its codec's, or the CPU without a codec."""
        return torch.device("cpu") if self.codec is None else self.codec.device

    def to(self, device: str | torch.device) -> "WorldModelProcessor":
        """Moves the codec, if it has one, and returns itself."""
        if self.codec is not None:
            self.codec.to(device)
        return self

    @abstractmethod
    def encode_prompt(self, *args: Any, **columns: Any) -> Any:
        """Token ids of prompts, from the columns that `prompt_columns` names."""

    @abstractmethod
    def encode_completion(self, *args: Any, **columns: Any) -> Any:
        """Token ids of what was recorded: the target of likelihood training."""

    @abstractmethod
    def decode_state(self, completion_ids: Any, context: Any) -> Any:
        """
        Predicted states of completions; those of one context stand together. Two kinds come as a mapping of
        `predicted` and `predicted_states`.
        """

    def to_dict(self) -> dict[str, Any]:
        """
        The processor's own settings as JSON; the codec is written as the name of its class.

        Returns:
            `dict[str, Any]`: what `processor_config.json` stores.
        """
        # The mixin's own copies every attribute, weights of the codec included.
        names = [name for name in inspect.signature(type(self)).parameters if name not in self.get_attributes()]
        settings = {name: getattr(self, name) for name in names if name != CODEC_FOLDER}
        output = {name: value.to_dict() if hasattr(value, "to_dict") else value for name, value in settings.items()}
        output["processor_class"] = type(self).__name__
        if CODEC_FOLDER in names:
            output[CODEC_FOLDER] = {"class": _class_path(self.codec), "subfolder": CODEC_FOLDER}
        if hasattr(self, "auto_map"):
            output["auto_map"] = self.auto_map
        return output

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """
        Writes `processor_config.json`, the tokenizer's files and the codec's weights (`codec/`, safetensors).

        Args:
            save_directory (`str` or `Path`):
                Folder to write to; made if missing.
            push_to_hub (`bool`, *optional*, defaults to `False`):
                Whether to upload the same files to `repo_id` (default: the folder's name).
            kwargs (`dict[str, Any]`, *optional*):
                With `push_to_hub`: arguments of [`push_to_hub`].

        Returns:
            `list[str]`: path of the processor's settings.
        """
        # Without `push_to_hub`, or the mixin would upload before the codec is written.
        files = super().save_pretrained(str(save_directory))
        if getattr(self, CODEC_FOLDER, None) is not None:
            folder = Path(save_directory, CODEC_FOLDER)
            self.codec.save_pretrained(folder)
            # diffusers names the file of a custom class in `auto_map` and leaves the copying to us.
            if getattr(self.codec, "_auto_class", None) is not None:
                custom_object_save(self.codec, folder)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return files

    def save_code(self, save_directory: str | Path, *, settings_directory: str | Path | None = None) -> None:
        """
        Adds the source files of its class to a saved processor, and those of its codec's class unless that is one of
        diffusers. `AutoProcessor.from_pretrained(..., trust_remote_code=True)` then works without this library.

        Args:
            save_directory (`str` or `Path`):
                Folder for the files and for the settings that name them.
            settings_directory (`str` or `Path`, *optional*):
                Folder of the saved processor, if that is to stay unchanged; `save_directory` by default.
        """
        parts: list[tuple[str, Any, str, str]] = [("AutoProcessor", self, "", "processor_config.json")]
        if self.codec is not None and type(self.codec).__module__.split(".")[0] != "diffusers":
            parts.append(("AutoModel", self.codec, CODEC_FOLDER, "config.json"))
        for auto_class, part, folder, name in parts:
            saved = Path(settings_directory or save_directory, folder, name).read_text(encoding="utf-8")
            # The copied files lie flat beside the settings, so the module is its last name alone.
            module, class_name = type(part).__module__.split(".")[-1], type(part).__name__
            settings = json.loads(saved) | {"auto_map": {auto_class: f"{module}.{class_name}"}}
            target = Path(save_directory, folder)
            target.mkdir(parents=True, exist_ok=True)
            custom_object_save(part, target)
            (target / name).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = "Upload processor",
        commit_description: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> CommitInfo:
        """
        Uploads tokenizer, settings, codec and the code that reads them, in one commit.

        Args:
            repo_id (`str`): repository, `"owner/name"`; made if missing.
            commit_message (`str`, *optional*, defaults to `"Upload processor"`): title of the commit.
            commit_description (`str`, *optional*): its description.
            private (`bool`, *optional*): whether a repository that is made is private.
            token (`bool` or `str`, *optional*): Hub token with write permission; the stored one by default.
            revision (`str`, *optional*): branch; made if missing.
            create_pr (`bool`, *optional*, defaults to `False`): whether to open a pull request instead.

        Returns:
            [`~huggingface_hub.CommitInfo`]: the commit.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            self.save_code(folder)
            # The name that comes back has its owner, which may have been left out.
            repo_id = create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
            return self._upload_modified_files(
                folder,
                repo_id,
                files_timestamps={},  # no file is known, so all are uploaded
                commit_message=commit_message,
                commit_description=commit_description,
                token=token,
                revision=revision,
                create_pr=create_pr,
            )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Any:
        """
        Loads a processor as transformers does. Checkpoints of RLVR-World's authors hold none: for them it is built.

        Args:
            pretrained_model_name_or_path (`str` or `Path`): folder or Hub repository.
            kwargs (`dict[str, Any]`): those of [`~transformers.ProcessorMixin.from_pretrained`].

        Returns:
            [`WorldModelProcessor`]

        Raises:
            ValueError: if the checkpoint's processor is of another class.
        """
        official = import_module(OFFICIAL) if Path(pretrained_model_name_or_path).parent.name == AUTHORS else None
        if official is None or official.find_official(pretrained_model_name_or_path) is None:
            return super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        source = {name: kwargs[name] for name in ("revision", "token") if name in kwargs}
        processor = official.official_processor(pretrained_model_name_or_path, **source)
        if not isinstance(processor, cls):
            raise ValueError(
                f"{pretrained_model_name_or_path} goes with a {type(processor).__name__}, not a {cls.__name__}; load "
                "it with that class."
            )
        return processor

    @classmethod
    def get_processor_dict(
        cls, pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Constructor arguments in a folder or Hub repository, the codec loaded; called by `from_pretrained`."""
        settings, unused = super().get_processor_dict(pretrained_model_name_or_path, **kwargs)
        if CODEC_FOLDER in settings:
            codec, place = settings[CODEC_FOLDER], str(pretrained_model_name_or_path)
            source = {name: kwargs[name] for name in HUB_ARGUMENTS if name in kwargs}
            if "name" in codec:
                place, source = str(import_module(BUNDLED).bundled_path(codec["name"])), {}
            else:
                source["subfolder"] = str(Path(kwargs.get("subfolder") or "", codec["subfolder"]))
            trust = bool(unused.pop("trust_remote_code", False))
            settings[CODEC_FOLDER] = _load_codec(codec["class"], place, trust, **source)
        return settings, unused


def state_columns(decoded: Any) -> dict[str, Any]:
    """
    The result of `decode_state` by column name.

    Args:
        decoded (`Any`): states, or a mapping of states.

    Returns:
        `dict[str, Any]`: `predicted`, and `predicted_states` if there are two kinds.

    Example:
        >>> list(state_columns(torch.zeros(4, 2, 3)))
        ['predicted']
    """
    return dict(decoded) if isinstance(decoded, Mapping) else {"predicted": decoded}


def _class_path(codec: Codec) -> str | None:
    """Import path of the codec's class; `None` if only code copied with the checkpoint can restore it."""
    path = f"{type(codec).__module__}.{type(codec).__qualname__}"
    return path if path.split(".")[0] in TRUSTED_PACKAGES else None


def _load_codec(class_path: str | None, repository: str, trust_remote_code: bool, **source: Any) -> Codec:
    """
    Loads a codec: a class of an installed trusted package by its name, any other by diffusers' `AutoModel`, which runs
    the repository's own code only if the caller trusts it. Weights are float32, whatever dtype they are stored in;
    none may be missing.
    """
    package = (class_path or "").split(".")[0]
    if class_path is None or (package not in TRUSTED_PACKAGES and trust_remote_code):
        return _load_foreign_codec(repository, trust_remote_code, **source)
    if package not in TRUSTED_PACKAGES:
        raise ValueError(
            f"Expected a codec class of {' or '.join(TRUSTED_PACKAGES)}, got {class_path!r}; if you trust the code in "
            f"{repository}, pass `trust_remote_code=True`."
        )
    try:
        module, _, name = class_path.rpartition(".")
        codec_class: Any = getattr(import_module(module), name)
    except ModuleNotFoundError:  # the package is not installed here: the repository may hold a copy of the class
        return _load_foreign_codec(repository, trust_remote_code, **source)
    # The settings come from a stranger: a name in a trusted package may still be any callable.
    is_model = isinstance(codec_class, type) and issubclass(codec_class, ModelMixin)
    if not is_model:
        raise TypeError(f"Expected the codec's class to be a diffusers `ModelMixin`, got {class_path}.")
    return load_whole_codec(codec_class, repository, **source)


def _load_foreign_codec(repository: str, trust_remote_code: bool, **source: Any) -> Codec:
    """Loads a codec whose code lies beside it; it reports no missing weights itself, so they are looked for here."""
    codec = AutoModel.from_pretrained(repository, trust_remote_code=trust_remote_code, **source)
    folder = cached_codec_folder(repository, **source)
    if stored := stored_tensors(folder, CODEC_WEIGHTS):
        refuse_other_codec(codec, stored, place=folder)
        refuse_unusable_numbers(codec, stored, place=folder)
    return codec
