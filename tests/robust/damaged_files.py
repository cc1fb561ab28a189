"""Every kind of file that a run writes, damaged or missing, in a finished run and in an interrupted one."""

import json
import re
import shutil
from pathlib import Path

from tests.robust.campaign import HUNG, WRONG, Finished, Place, Tally, compare, digest, lost


PROMISE = (
    "A damaged or missing file of a run leads to the same weights and numbers, made again, or to a sentence that names "
    "the file and the remedy. A damaged result does not count as finished."
)

DAMAGES = ("truncated", "emptied", "garbage", "missing")
NOT_READ_AGAIN = ("README.md", "strip.png", "strip.gif", "learning_curves.png", "examples.md")
"""A user may edit the card, and nothing reads the pictures: these must only be there."""

RESUMED = ("tokenizer", "pretrain", "grpo", "control")
"""Stages that are resumed from checkpoints."""


def check(place: Place, tally: Tally) -> None:
    finished = place.finished
    expected = finished.results()
    cases = [(path, damage, None) for path, damage in _of_a_finished_run(place, finished)]
    cases += [(path, damage, stage) for stage, path, damage in _of_an_interrupted_run(place, finished)]
    if place.is_quick:
        wanted = ("done.json truncated", "base/model.safetensors truncated", "optimizer.pt garbage")
        cases = [case for name in wanted for case in cases if f"{case[0].as_posix()} {case[1]}".endswith(name)][:4]
    for number, (path, damage, stage) in enumerate(cases):
        with finished.copied(place.folder / str(number)) as run:
            if stage is not None:
                interrupt(run, stage)
            _try(place, tally, run, path, damage, expected=expected, stage=stage)


def kind_of(path: Path) -> str:
    """Kind of a file: its name, and what its folder is for, without numbers and fingerprints."""
    parts = [re.sub(r"^[0-9a-f]{16}$|\d+", "#", part) for part in path.parts]
    if parts[0] == "cache":
        return f"cache/{parts[1]}/{parts[-1]}"
    if "codec" in parts:
        return f"codec/{parts[-1]}"
    if "stages" not in parts:
        return "checkpoint/" + parts[-1] if len(parts) > 2 else parts[-1]
    return f"stages/{'checkpoint/' if any('checkpoint-' in part for part in parts) else ''}{parts[-1]}"


def _of_a_finished_run(place: Place, finished: Finished) -> list[tuple[Path, str]]:
    """One file of each kind, drawn, in all damages."""
    kinds: dict[str, list[Path]] = {}
    for path in finished.files:
        # Checkpoints of a finished stage are read no more: they are damaged in an interrupted one.
        if "checkpoint-" not in str(path):
            kinds.setdefault(kind_of(path), []).append(path)
    chosen = [place.random.choice(paths) for _, paths in sorted(kinds.items())]
    base = next(path for path in finished.files if path.as_posix().endswith("base/model.safetensors"))
    chosen += [] if base in chosen else [base]
    return [(path, damage) for path in chosen for damage in DAMAGES if _matters(path, damage)]


def _matters(path: Path, damage: str) -> bool:
    return damage == "missing" or path.name not in NOT_READ_AGAIN


def _of_an_interrupted_run(place: Place, finished: Finished) -> list[tuple[str, Path, str]]:
    """Files of the last checkpoint of a stage, damaged before the stage is resumed."""
    cases = []
    for stage in RESUMED:
        folder = finished.stage_folder(stage)
        checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        files = [path for path in (checkpoints[-1].iterdir() if checkpoints else folder.iterdir()) if path.is_file()]
        files += [folder / name for name in ("started.json", "seconds.json", "history.json")]
        for path in sorted(set(files)):
            if path.exists() and path.name != "done.json":
                damages = DAMAGES if stage == "grpo" else [place.random.choice(DAMAGES)]
                cases += [(stage, path.relative_to(finished.place), damage) for damage in damages]
    return cases


def interrupt(run: Finished, stage: str) -> None:
    """Make a copy look as if it had been killed at the end of a stage, before its results were written."""
    order = {"tokenizer": ("base", "control", "rlvr", "codec"), "pretrain": ("base", "control", "rlvr")}
    later = list(run.stage_folder(stage).parents[0].parents[0].glob("*"))
    folder = run.stage_folder(stage)
    (folder / "done.json").unlink()
    made = order.get(stage, ("rlvr",) if stage == "grpo" else ("control",))
    names = [*made, "results.json"]
    stages = ("collect", "tokenizer", "pretrain", "grpo", "control", "evaluate", "predict")
    for name in stages[stages.index(stage) + 1 :]:
        # Control follows grpo in order, and needs it only for its length.
        shutil.rmtree(run.folder / "stages" / name, ignore_errors=True)
    for name in names:
        for path in (run.folder / name, *(place / name for place in [folder, *later])):
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.is_dir():
                shutil.rmtree(path)


def damage_file(place: Place, path: Path, damage: str) -> None:
    """Damage a file."""
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(content[: place.random.randrange(1, max(2, len(content)))])
    else:
        path.write_bytes(b"[]\n" if path.suffix == ".json" else place.random.randbytes(len(content)))


def _try(
    place: Place,
    tally: Tally,
    run: Finished,
    path: Path,
    damage: str,
    *,
    expected: dict[str, str],
    stage: str | None,
) -> None:
    case = f"{path} {damage}" + (f", {stage} interrupted" if stage else "")
    target = run.place / path
    whole = digest(target) if target.exists() else ""
    if not whole:
        return
    planted = run.plant()
    damage_file(place, target, damage)
    tally.tried += 1
    ended = place.run(run.folder, run.cache)
    if ended is None:
        tally.fault(HUNG, case, "did not end in time")
    elif ended.crash:
        tally.fault("crashed", case, ended.crash)
    elif ended.code:
        names = (path.name, path.parent.name)
        if not ended.sentence or not any(name in ended.sentence for name in names):
            tally.fault(WRONG, case, f"exit code {ended.code}, names no file: {ended.sentence or ended.text[-200:]!r}")
    else:
        compare(tally, case, run, expected)
        _still_damaged(tally, case, target, whole, stage)
    lost(tally, case, planted)


def _still_damaged(tally: Tally, case: str, path: Path, whole: str, stage: str | None) -> None:
    """Count a result that is as damaged as before although the run says that it is finished."""
    if stage is not None or "cache" in case.split("/")[0]:
        return
    if not path.exists():
        tally.fault(WRONG, case, "said to be finished, and the file is still missing")
    elif path.suffix == ".json" and not isinstance(_parsed(path), dict | list):
        tally.fault(WRONG, case, "said to be finished, and the file is still damaged")
    elif path.suffix == ".safetensors" and digest(path) != whole:
        tally.fault(WRONG, case, "said to be finished, and the file is still damaged")
    elif path.suffix == ".json" and _parsed(path) == [] and path.name != "history.json":
        tally.fault(WRONG, case, "said to be finished, and the file is still damaged")


def _parsed(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
