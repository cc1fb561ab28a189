"""Every kind of file that a run writes, damaged or missing, in a finished run and in an interrupted one."""

import json
import re
import shutil
import time
from pathlib import Path

from tests.robust.campaign import CRASHED, HUNG, PATIENCE, WRONG, Finished, Place, Tally, compare, digest, lost
from tests.robust.forks import Ended


PROMISE = (
    "A damaged or missing file of a run leads to the same weights and numbers, made again, or to a sentence that "
    "names the file and the remedy. A damaged result does not count as finished."
)

DAMAGES = ("truncated", "emptied", "garbage", "missing")
NOT_READ_AGAIN = ("README.md", "strip.png", "strip.gif", "learning_curves.png", "examples.md")
"""A user may edit the card, and nothing reads the pictures: these must only be there."""

RESUMED = {"grpo": ("rlvr",), "pretrain": ("base",), "control": ("control",)}
"""Stages that are resumed from checkpoints, and what they make."""

CHIEF = ("done.json", "started.json", "model.safetensors", "config.json", "results.json", "data-00000-of-00001.arrow")
CHIEF += ("diffusion_pytorch_model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json", "resume.pt")
"""Files that are damaged in all four ways; of the others one is missing and one is damaged in a way that is drawn."""

QUICK = ("base/model.safetensors truncated", "model.safetensors truncated grpo", "optimizer.pt garbage grpo")


def check(place: Place, tally: Tally) -> None:
    finished = place.finished
    expected = finished.results()
    cases: list[tuple[Path, str, str | None]] = [
        *((path, damage, None) for path, damage in _of_a_finished_run(place, finished)),
        *((path, damage, stage) for stage, path, damage in _of_an_interrupted_run(place, finished)),
    ]
    if place.is_quick:
        cases = [case for case in cases if _name(*case) in QUICK]
    for number, (path, damage, stage) in enumerate(cases):
        with finished.copied(place.folder / str(number)) as run:
            if stage is not None:
                interrupt(run, stage)
            _try(place, tally, run, path, damage, expected=expected, stage=stage)
    if not place.is_quick:
        _damage_a_tokenizer(place, tally)


def _name(path: Path, damage: str, stage: str | None) -> str:
    return f"{path.parent.name if path.parent.name == 'base' else ''}/{path.name} {damage} {stage or ''}".strip(" /")


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
    return [(path, damage) for path in chosen for damage in _damages(place, path)]


def _damages(place: Place, path: Path) -> tuple[str, ...]:
    if path.name in CHIEF:
        return DAMAGES
    return ("missing",) if path.name in NOT_READ_AGAIN else ("missing", place.random.choice(DAMAGES[:3]))


def _of_an_interrupted_run(place: Place, finished: Finished) -> list[tuple[str, Path, str]]:
    """Files of the last checkpoint of a stage, damaged before the stage is resumed."""
    cases = []
    for stage in RESUMED:
        folder = finished.stage_folder(stage)
        checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        paths = [*checkpoints[-1].iterdir(), *(folder / name for name in ("started.json", "seconds.json"))]
        for path in sorted(paths):
            damages = _damages(place, path) if stage == "grpo" else [place.random.choice(DAMAGES)]
            if stage == "grpo" or path.name in CHIEF:
                cases += [(stage, path.relative_to(finished.place), damage) for damage in damages]
    return cases


def interrupt(run: Finished, stage: str) -> None:
    """Make a copy look as if a stage had been killed after its last checkpoint: without its record and its results."""
    folder = run.stage_folder(stage)
    (folder / "done.json").unlink()
    for name in RESUMED[stage]:
        for path in (run.folder / name, folder / name):
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path, ignore_errors=True)


def _damage_a_tokenizer(place: Place, tally: Tally) -> None:
    """Damage what a tokenizer is resumed from, which is gone when it is finished: in a run that is killed."""
    words = ("--tokenizer.save_steps", "2")
    whole, killed = Finished(place.folder / "tokenizer"), Finished(place.folder / "killed")
    if not tally.succeeded("tokenizer", place.run(whole.folder, whole.cache, *words, command="tokenizer")):
        return
    expected = whole.results(("codec",))
    command = place.start(killed.folder, killed.cache, *words, command="tokenizer")
    while not command.poll() and not any(killed.folder.rglob("resume.pt")):
        time.sleep(0.002)
    command.kill()
    command.wait(PATIENCE)
    if not any(killed.folder.rglob("resume.pt")):
        tally.skip("the tokenizer was done before it could be killed", len(DAMAGES))
        return
    for damage in DAMAGES:
        with killed.copied(place.folder / f"resume-{damage}") as run:
            path = next(run.folder.rglob("resume.pt"))
            damage_file(place, path, damage)
            case = f"{path.relative_to(run.place)} {damage}"
            ended = place.run(run.folder, run.cache, *words, command="tokenizer")
            _judge(tally, case, run, ended, path, expected, only=("codec",))


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
    only = () if stage is None else RESUMED[stage]
    ended = place.run(run.folder, run.cache, command=stage or "run")
    ended_well = _judge(tally, case, run, ended, target, expected, only=only)
    if ended_well and stage is None and path in place.finished.made:
        _still_damaged(tally, case, target, whole)
    lost(tally, case, planted)


def _judge(
    tally: Tally,
    case: str,
    run: Finished,
    ended: Ended | None,
    path: Path,
    expected: dict[str, str],
    *,
    only: tuple[str, ...],
) -> bool:
    """Count what came of a damaged file; returns whether the command ended well."""
    tally.tried += 1
    if ended is None:
        tally.fault(HUNG, case, "did not end in time")
    elif ended.crash:
        tally.fault(CRASHED, case, ended.crash)
    elif ended.code:
        if not any(name in ended.sentence for name in (path.name, path.parent.name)):
            tally.fault(WRONG, case, f"exit code {ended.code}, names no file: {ended.sentence or ended.text[-200:]!r}")
    else:
        compare(tally, case, run, expected, only=only)
        return True
    return False


def _still_damaged(tally: Tally, case: str, path: Path, whole: str) -> None:
    """Count a result that is as damaged as before although the run says that it is finished."""
    if not path.exists():
        tally.fault(WRONG, case, "said to be finished, and the file is still missing")
    elif (path.suffix == ".safetensors" and digest(path) != whole) or (path.suffix == ".json" and not _parsed(path)):
        tally.fault(WRONG, case, "said to be finished, and the file is still damaged")


def _parsed(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
