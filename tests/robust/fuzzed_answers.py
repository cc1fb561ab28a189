"""Random, mutated and hostile answers to every text reward, and random arrays to every reward on frames or sensors."""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch

from rlvr_world_hf.rewards import VerifiableReward
from rlvr_world_hf.rewards.text import TextReward
from rlvr_world_hf.worlds.textworld.facts import FactChange
from rlvr_world_hf.worlds.web.change import PageChange
from tests.rewards.discovery import reward_classes
from tests.rewards.test_conformance import ARGUMENTS
from tests.rewards.test_text_conformance import LAMP, LIT, ROWS, difference
from tests.robust.campaign import CRASHED, HUNG, WRONG, Place, Tally


PROMISE = (
    "Whatever a model answers, a reward in its default mode gives a value within its stated range in a stated time: "
    "nobody earns more by contradicting himself than by saying that nothing changes."
)

ANSWERS, ARRAYS = 24_000, 1_200
"""In all, shared evenly by the rewards."""

SLOW, SLOW_ARRAYS = ("LPIPSReward", "MSSSIMReward"), 40
"""They take a fifth of a second for each batch."""

SECONDS, ARRAY_SECONDS = 1.0, 5.0
"""In which one answer of up to 64 KiB, or one batch of arrays, must be judged."""

CHANGE = PageChange(updated=("[2] checkbox 'Milk' checked: True",))
FLIPPED = PageChange(updated=("[2] checkbox 'Milk' checked: False",))

# For each module of rewards: a row, the answer that nothing changes, answers that give both values of all that does.
CONTRADICTIONS: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "textworld": (
        {"ground_truth": "+ open(door)\n- closed(door)"},
        str(FactChange(added=frozenset(), removed=frozenset())),
        (
            "+ open(door)\n- open(door)\n+ closed(door)\n- closed(door)",
            "- open(door)\n+ open(door)\n- closed(door)\n+ closed(door)",
        ),
    ),
    "web": (
        {"ground_truth": CHANGE.text},
        PageChange().text,
        (
            PageChange(updated=CHANGE.updated + FLIPPED.updated).text,
            PageChange(updated=FLIPPED.updated + CHANGE.updated).text,
            PageChange(updated=CHANGE.updated, deleted=CHANGE.updated).text,
            PageChange(updated=CHANGE.updated, deleted=FLIPPED.updated).text,
            CHANGE.text + "\n" + FLIPPED.text,
        ),
    ),
    "bytesized32": (
        ROWS["bytesized32"][0],
        difference(),
        (
            difference(LIT, LAMP),
            difference(LAMP, LIT),
            difference(LIT).replace('"isOn": true', '"isOn": true, "isOn": false'),
            difference(LIT).replace('"isOn": true', '"isOn": false, "isOn": true'),
            json.dumps({"modified": [LIT], "removed": [LIT["uuid"]], "score": {}}),
            "2|+isOn\n2|-isOn",
            "2|-isOn\n2|+isOn",
            "2|+isOn;-isOn",
        ),
    ),
}

HOSTILE: tuple[Callable[[Random, str], str], ...] = (
    lambda draw, right: f"```json\n{right}",
    lambda draw, right: f"```{' ' * draw.choice((10, 1000, 64_000))}x",
    lambda draw, right: "```\n" * draw.randrange(1, 8000) + right,
    lambda draw, right: f"```json\n{right}\n```" * draw.randrange(1, 40),
    lambda draw, right: f"<think>{right}",
    lambda draw, right: "<think>" * draw.randrange(1, 5000) + right,
    lambda draw, right: "[" * draw.randrange(1, 50_000),
    lambda draw, right: '{"a":' * draw.randrange(1, 9000) + "1" + "}" * draw.randrange(1, 9000),
    lambda draw, right: right.replace("1", draw.choice(("1e999", "-1e999", "9" * 5000, "1" * 400, "0x1", "1e-999"))),
    lambda draw, right: right.replace("true", draw.choice(("NaN", "Infinity", "-Infinity", "null", "[]", "{}", "1"))),
    lambda draw, right: right.replace('"', draw.choice(("'", "“", "", '""', '\\"'))),
    lambda draw, right: draw.choice(
        ("null", "true", "3", "-0", '"text"', "[]", "{}", "[[]]", "{}{}", "NaN", "[null]")
    ),
    lambda draw, right: (
        draw.choice(("\ud800", "\x00", "\u202e", "é", "１２", "\ufeff", "\x1b[31m", "٣", "🎲")) * 9 + right
    ),
    lambda draw, right: right + draw.choice(("\ud800", "\x00", "\u2028", "\r", "\x85", "\v")) + right,
    lambda draw, right: " " * draw.randrange(64_000) + right,
    lambda draw, right: "\n" * draw.randrange(64_000) + right,
    lambda draw, right: (right + "\n") * draw.randrange(1, 60),
    lambda draw, right: "".join(chr(draw.randrange(0x110000)) for _ in range(draw.randrange(1, 400))),
    lambda draw, right: "".join(draw.choice("{}[]\",:`|+-;=\n 01e.()'\\/<>") for _ in range(draw.randrange(1, 3000))),
    lambda draw, right: "+ " * draw.randrange(1, 9000) + "open(door)",
    lambda draw, right: "open(" * draw.randrange(1, 9000) + ")" * draw.randrange(1, 9000),
    lambda draw, right: "1|a|B|" + ";".join(f"p{n}={n}" for n in range(draw.randrange(1, 3000))),
    lambda draw, right: "\n".join(f"{draw.randrange(-5, 10 ** draw.randrange(1, 30))}|+isOn" for _ in range(300)),
    lambda draw, right: "Updated items:\n" + f"[{'9' * draw.randrange(1, 6000)}] link ''\n" * draw.randrange(1, 9),
    lambda draw, right: json.dumps({"modified": draw.choice((1, None, "x", [1], [[]], {}, [{}])), "removed": 7}),
)


def check(place: Place, tally: Tally) -> None:
    texts = reward_classes(TextReward)
    modes = [(cls, {"kind": "task_specific"} if number else {}) for cls in texts for number in _kinds(cls)]
    answers = 600 if place.is_quick else ANSWERS
    for cls, form in modes:
        _in_a_fork(place, tally, cls, "judge_texts", form, answers // len(modes))
    arrays = reward_classes(VerifiableReward)
    for cls in arrays:
        count = (60 if place.is_quick else ARRAYS) // len(arrays)
        count = min(count, 1 if place.is_quick else SLOW_ARRAYS) if cls.__name__ in SLOW else count
        _in_a_fork(place, tally, cls, "judge_arrays", ARGUMENTS.get(cls.__name__, {}), count)


def _kinds(cls: type) -> range:
    """One for its default mode, and one for the task-specific kind where there is one."""
    import inspect

    return range(2 if "kind" in inspect.signature(cls).parameters else 1)


def _in_a_fork(place: Place, tally: Tally, cls: type, judge: str, form: dict[str, Any], count: int) -> None:
    """Judge answers in a process of its own, which writes what went wrong into a file."""
    report = place.folder / f"{cls.__name__}-{len(form)}.json"
    words = (cls.__module__, cls.__name__, json.dumps(form), str(place.random.randrange(2**31)), str(count))
    case = f"{cls.__name__}{form or ''}"
    ended = place.forks.run(*words, str(report), call=f"tests.robust.fuzzed_answers:{judge}", patience=240.0)
    found = json.loads(report.read_text()) if report.exists() else {"tried": 0, "faults": []}
    tally.tried += found["tried"]
    for kind, what, given in found["faults"]:
        tally.fault(kind, f"{case}: {given}", what)
    if ended is None:
        tally.fault(HUNG, case, f"{count} answers were not judged in 240 s")
    elif ended.code:
        tally.fault(CRASHED, case, ended.crash or ended.text[-200:])


def judge_texts(module: str, name: str, form: str, seed: str, count: str, report: str) -> int:
    """In the fork: judge answers in text one by one."""
    draw = Random(int(seed))
    reward = _made(module, name, form)
    world = module.split(".")[2]
    faults: list[tuple[str, str, str]] = []
    row, *written = ROWS.get(name, ROWS[world])
    given: dict[str, Any] = {key: [value] for key, value in row.items()}
    tried = 0
    for answer in _texts(draw, written, int(count)):
        tried += 1
        _judge(faults, reward, SECONDS, answer, completions=[answer], **given)
    for answer in (None, b"bytes", 3, 1.5, [], {}, [1], [{"role": "assistant", "content": None}], ("a",), object()):
        tried += 1
        _judge(faults, reward, SECONDS, answer, completions=[answer], **given)
    changed, copy, contradicting = CONTRADICTIONS[world]
    columns = {**given, **{key: [value] for key, value in changed.items()}}
    (at_rest,) = reward(completions=[copy], **columns)
    for answer in contradicting:
        tried += 1
        (value,) = reward(completions=[answer], **columns)
        if value > at_rest + 1e-9:
            faults.append((WRONG, f"contradiction earns {value}, nothing changes {at_rest}", _short(answer)))
    Path(report).write_text(json.dumps({"tried": tried, "faults": faults[:50]}))
    return 0


def judge_arrays(module: str, name: str, form: str, seed: str, count: str, report: str) -> int:
    """In the fork: judge random batches of frames or sensors."""
    reward = _made(module, name, form)
    draw = Random(int(seed))
    faults: list[tuple[str, str, str]] = []
    tried = 0
    for what, columns in _batches(draw, reward.reads, int(count)):
        tried += 1
        _judge(faults, reward, ARRAY_SECONDS, what, **columns)
    Path(report).write_text(json.dumps({"tried": tried, "faults": faults[:50]}))
    return 0


def _made(module: str, name: str, form: str) -> Any:
    from importlib import import_module

    return getattr(import_module(module), name)(**json.loads(form))


def _judge(faults: list[tuple[str, str, str]], reward: Any, seconds: float, given: Any, **columns: Any) -> None:
    """Call a reward; what is no answer must be refused in words, and any answer has a value in range."""
    begun = time.process_time()
    try:
        values = reward(**columns)
    except (ValueError, TypeError) as error:
        # A sentence of ours names the reward; one of Python or torch does not.
        is_text = isinstance(given, str) and "completions" in columns
        if is_text or (f"`{reward.name}`" not in str(error) and "xpected" not in str(error)):
            faults.append((CRASHED, f"{type(error).__name__}: {error}", _short(given)))
        return
    except Exception as error:  # noqa: BLE001 (what is looked for)
        faults.append((CRASHED, f"{type(error).__name__}: {error}", _short(given)))
        return
    taken = time.process_time() - begun
    if taken > seconds:
        faults.append((HUNG, f"took {taken:.1f} s", _short(given)))
    ends = sorted(end if reward.higher_is_better else 0.0 - end for end in (reward.best, reward.floor))
    if getattr(reward, "reads", "") in ("sensors", "states") and not reward.higher_is_better:
        ends[0] = -math.inf  # the farther off, the worse: only within the ranges of the data is the floor the least
    for value in values:
        if value is not None and not (math.isfinite(value) and ends[0] - 1e-4 <= value <= ends[1] + 1e-4):
            faults.append((WRONG, f"value {value}, expected one from {ends[0]} to {ends[1]}", _short(given)))


def _short(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 80 else f"{text[:50]}… ({len(text)} characters)"


def _texts(draw: Random, answers: tuple[str, ...], count: int) -> Iterator[str]:
    """Hostile texts, each kind in turn, and recorded answers that are mutated ever further."""
    for number in range(count):
        text = draw.choice(answers)
        if number % 3 == 0:
            made = HOSTILE[number // 3 % len(HOSTILE)](draw, text)
            yield made[:65_536]
            continue
        for _ in range(draw.randrange(1, 5)):
            text = _mutated(draw, text, answers)
        yield text[:65_536]


def _mutated(draw: Random, text: str, answers: tuple[str, ...]) -> str:
    """One change: of characters, of lines, or of the values of a JSON answer."""
    start, end = sorted(draw.randrange(len(text) + 1) for _ in range(2))
    lines = text.split("\n")
    choice = draw.randrange(8)
    if choice == 0:
        return text[:start] + text[end:]
    if choice == 1:
        return text[:start] + draw.choice("{}[]\",:`|+-;=\n 019e.()'") + text[start:]
    if choice == 2:
        return text[:end] + text[start:]
    if choice == 3:
        return text[:start] + draw.choice(answers) + text[end:]
    if choice == 4:
        draw.shuffle(lines)
        return "\n".join(lines)
    if choice == 5:
        return "\n".join([*lines, draw.choice(lines)])
    head, brace, tail = text.partition("{")
    try:
        value = json.loads(brace + tail)
    except ValueError:
        return text[:start] + text[start:end].swapcase() + text[end:]
    return head + json.dumps(_other_value(draw, value))


def _other_value(draw: Random, value: Any) -> Any:
    """A JSON value, one of whose parts is replaced."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        key = draw.choice(sorted(value))
        return {**value, key: _other_value(draw, value[key])}
    if isinstance(value, list) and value and draw.random() < 0.8:
        place = draw.randrange(len(value))
        return [*value[:place], _other_value(draw, value[place]), *value[place + 1 :]]
    return draw.choice(
        (None, True, 0, -1, 1e308, 10**30, float("nan"), float("inf"), "", "x" * 99, [], {}, [value] * 2)
    )


def _batches(draw: Random, reads: str, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Batches of random numbers of all kinds, and what is wrong with them."""
    for number in range(count):
        generator = torch.Generator().manual_seed(draw.randrange(2**31))
        shape = (64,) if reads == "sensors" else (3, 64, 64)
        done = torch.rand(2, 3, 2, generator=generator) * 512
        context, reference = (torch.rand(2, steps, *shape, generator=generator) for steps in (1, 2))
        kinds: dict[str, Any] = {
            "random": torch.rand(2, 2, *shape, generator=generator),
            "near": (reference + 0.01 * torch.randn(2, 2, *shape, generator=generator)).clamp(0, 1),
            "white": torch.ones_like(reference),
            "black": torch.zeros_like(reference),
            "copied": context.repeat(1, 2, *[1] * len(shape)),
            "bytes": (reference * 255).to(torch.uint8),
            "double": reference.double(),
            "half": reference.half(),
            "unreadable": [None, reference[1]],
            "far outside": reference * 10.0 ** draw.randrange(1, 30) - 7,
            "NaN": reference.masked_fill(reference > 0.9, torch.nan),
            "infinite": reference.masked_fill(reference > 0.9, torch.inf),
            "whole numbers": (reference * 9).long(),
            "Booleans": reference > 0.5,
            "complex": reference.to(torch.complex64),
            "another horizon": reference[:, :1],
            "no steps": reference[:, :0],
            "another size": reference[..., :32],
            "without a dimension": reference[:, 0],
            "one sample fewer": reference[:1],
            "nothing": [],
            "texts": ["a", "b"],
            "numbers": [1.0, 2.0],
            "NumPy": reference.numpy(),
            "list of lists": [[0.5], [0.5]],
        }
        name = list(kinds)[number % len(kinds)]
        yield name, {"predicted": kinds[name], "reference": reference, "context": context, "actions": done}
