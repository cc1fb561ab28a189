"""
The private methods of TRL and transformers that the library overrides, replaces or calls are those it was written for.

Nothing promises that such a method stays as it is, and an override of one that has changed may be wrong without
failing. `overridden_methods.json` holds a hash of each one's source, for each version that was tested. After an
upgrade this test names those that have changed. Read their diff, mend what stands beside them here, and record the
installed versions:

    python tests/training/test_overridden_methods.py
"""

import hashlib
import inspect
import json
import re
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from packaging.version import Version

import rlvr_world_hf


PACKAGES = ("transformers", "trl")
RECORD = Path(__file__).with_name("overridden_methods.json")
REPOSITORY = Path(__file__).parents[2]
LIBRARY = Path(rlvr_world_hf.__file__).parent
RENEW = f"python {Path(__file__).relative_to(REPOSITORY).as_posix()}"

Sources = dict[str, str]
"""Qualified name of a function or class, and the hash of its source."""

# What no class of ours shows: functions that are replaced from outside, or private ones that are called.
BY_HAND = {
    "trl.trainer.grpo_trainer.GRPOTrainer._tokenize_prompts": "called in training/modality.py",
    "trl.trainer.grpo_trainer.GRPOTrainer._log_completion_extra": "called in training/modality.py",
    "trl.trainer.utils.RepeatSampler": "its order is set in training/grouped_rows.py",
    "transformers.models.llama.modeling_llama.LlamaForCausalLM.forward": "replaced in rollouts/head.py",
    "transformers.models.qwen3.modeling_qwen3.Qwen3ForCausalLM.forward": "replaced in rollouts/head.py",
    "transformers.integrations.sdpa_attention.sdpa_attention_forward": "replaced in rollouts/shared_prompt.py",
    "transformers.modeling_utils.PreTrainedModel._can_set_attn_implementation": "called in rollouts/shared_prompt.py",
    "transformers.trainer.Trainer._load_from_checkpoint": "called in training/grpo_trainer.py",
}


def hash_of(thing: Any) -> str:
    lines = dedent(inspect.getsource(thing)).splitlines()
    return hashlib.sha256("\n".join(line.rstrip() for line in lines).encode()).hexdigest()


def thing_named(name: str) -> Any:
    """What a qualified name stands for, `None` if there is no such thing."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            thing = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            thing = getattr(thing, part, None)
        return thing
    return None


def our_classes() -> Iterable[type]:
    for file in sorted(LIBRARY.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        # Loads no more of the library than may have such a class.
        if re.search(r"^class \w+\(", text, re.MULTILINE) and re.search(r"\btrl\b|\btransformers\b|Processor", text):
            module = import_module(".".join(file.relative_to(LIBRARY.parent).with_suffix("").parts))
            yield from (
                thing
                for thing in vars(module).values()
                if isinstance(thing, type) and thing.__module__ == module.__name__
            )


def overridden(classes: Iterable[type]) -> dict[str, str]:
    """Qualified name of each private method of TRL and transformers that a class has for itself, and that class."""
    found = {}
    for ours in classes:
        for name in vars(ours):
            if not name.startswith("_") or name.startswith("__"):
                continue
            base = next((base for base in ours.__mro__[1:] if name in vars(base)), None)
            if base is not None and base.__module__.split(".")[0] in PACKAGES and callable(getattr(base, name)):
                found[f"{base.__module__}.{base.__qualname__}.{name}"] = f"overridden by {ours.__qualname__}"
    return found


def sources(names: Iterable[str], package: str) -> Sources:
    """Hashes of what is installed; what is no longer there has none."""
    of_package = sorted(name for name in names if name.split(".")[0] == package)
    things = {name: thing_named(name) for name in of_package}
    return {name: hash_of(thing) for name, thing in things.items() if thing is not None}


def changes(installed: Sources, recorded: Sources) -> list[str]:
    """Names whose source is another, or is in only one of the two."""
    return sorted(name for name in installed.keys() | recorded if installed.get(name) != recorded.get(name))


def read_record() -> dict[str, dict[str, Sources]]:
    """Hashes by package and version."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


def newest(versions: Iterable[str]) -> str:
    return max(versions, key=Version)


@pytest.fixture(scope="module")
def ours() -> dict[str, str]:
    """What is overridden, replaced or called, and where."""
    return BY_HAND | overridden(our_classes())


@pytest.mark.parametrize("package", PACKAGES)
def test_sources_are_those_the_library_was_written_for(package: str, ours: dict[str, str]) -> None:
    record, installed = read_record()[package], version(package)
    tested = installed if installed in record else newest(record)
    changed = changes(sources(ours, package), record[tested])
    listed = "\n".join(f"  {name}, {ours.get(name, 'no longer overridden')}" for name in changed)
    assert not changed, (
        f"{package} {installed} is installed; these are not as recorded of {package} {tested}:\n{listed}\n"
        f"Read what has changed, mend the override, then record the installed version with `{RENEW}`."
    )


def test_overrides_are_found(ours: dict[str, str]) -> None:
    trainer = "overridden by WorldModelGRPOTrainer"
    assert ours["trl.trainer.grpo_trainer.GRPOTrainer._prepare_inputs"] == trainer
    assert sorted(name.rpartition(".")[2] for name, by in ours.items() if by == trainer) == [
        "_calculate_rewards",
        "_get_per_token_logps_and_entropies",
        "_get_train_sampler",
        "_prepare_inputs",
    ], "each must be read again at every upgrade; the forward pass that takes a head is the fifth and last"


@pytest.mark.parametrize("name", BY_HAND)
def test_what_is_named_by_hand_exists(name: str) -> None:
    assert thing_named(name) is not None, f"{name}, {BY_HAND[name]}, is gone: find what took its place"


def test_another_source_is_named() -> None:
    recorded = {"trl.A._kept": "1", "trl.A._changed": "2", "trl.A._gone": "3"}
    installed = {"trl.A._kept": "1", "trl.A._changed": "4", "trl.A._new": "5"}
    assert changes(installed, recorded) == ["trl.A._changed", "trl.A._gone", "trl.A._new"]
    assert not changes(recorded, recorded)


def test_indentation_and_trailing_space_are_no_change() -> None:
    class Nested:
        def method(self) -> int:
            return 1

    assert hash_of(Nested.method) == hashlib.sha256(b"def method(self) -> int:\n    return 1").hexdigest()


@pytest.mark.parametrize("package", PACKAGES)
def test_locked_version_is_recorded(package: str) -> None:
    locked = re.search(rf"^{package}==(\S+)", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    assert locked[1] in read_record()[package], f"run `{RENEW}` with the locked packages"


@pytest.mark.parametrize("package", PACKAGES)
def test_upper_bound_is_the_newest_minor_version_recorded(package: str) -> None:
    tested = Version(newest(read_record()[package]))
    bound = re.search(rf'"{package}>=[\d.]+,<([\d.]+)"', (REPOSITORY / "pyproject.toml").read_text())
    assert bound is not None
    assert bound[1] == f"{tested.major}.{tested.minor + 1}"


if __name__ == "__main__":
    names = BY_HAND | overridden(our_classes())
    record = read_record() if RECORD.exists() else {}
    for package in PACKAGES:
        record.setdefault(package, {})[version(package)] = sources(names, package)
    RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
