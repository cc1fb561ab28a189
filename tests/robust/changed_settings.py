"""Settings that change between two commands on one folder, and settings that cannot be used."""

from tests.robust.campaign import LOST, STAGES, WRONG, Ended, Finished, Place, Tally, compare, digest, lost


PROMISE = (
    "Settings that do not affect a result train nothing anew; others train into folders of their own, and what was "
    "finished stays; settings that cannot be used are refused before the first stage."
)

HARMLESS = (
    ("--pretrain.logging_steps", "7"),
    ("--pretrain.disable_tqdm", "true"),
    ("--pretrain.dataloader_num_workers", "1"),
    ("--pretrain.save_total_limit", "9"),
    ("--grpo.run_name", "mine"),
    ("--grpo.log_completions", "true"),
    ("--grpo.logging_steps", "1"),
)
"""They change what is shown or kept, not what is learned."""

UNUSABLE = (
    ("--grpo.num_generations", "1"),
    ("--pretrain.num_attention_heads", "3"),
    ("--pretrain.learning_rate", ".nan"),
    ("--pretrain.start_from", "/nowhere"),
    ("--grpo.rewards", "[{path: rlvr_world_hf.rewards.MAERewrd}]"),
    ("--grpo.rewards", "[{path: rlvr_world_hf.rewards.MAEReward, weight: .nan}]"),
    ("--grpo.rewards", "[{path: rlvr_world_hf.rewards.MAEReward, sharpness: 2}]"),
    ("--evaluate.metrics", "[{path: rlvr_world_hf.rewards.SSIMRewrd}]"),
    ("--predict.checkpoints", "[nope]"),
    ("--windows.horizon", "50"),
    ("--windows.horizon", "0"),
    ("--seed", "-1"),
    ("--grpo.temperature", ".nan"),
    ("--evaluate.sampling_seeds", "[]"),
    ("--tokenizer.source", "/nowhere"),
)

OTHERS = (
    ("--evaluate.windows", "4"),
    ("--grpo.learning_rate", "2e-3"),
    ("--pretrain.learning_rate", "1e-5"),
    ("--windows.horizon", "1"),
)
"""They change a result."""


def check(place: Place, tally: Tally) -> None:
    finished = place.finished
    expected = finished.results()
    with finished.copied(place.folder / "harmless") as run:
        planted, before = run.plant(), _contents(run)
        for words in HARMLESS[:1] if place.is_quick else HARMLESS:
            case = " ".join(words)
            ended = place.run(run.folder, run.cache, *words)
            if tally.succeeded(case, ended):
                _nothing_run(tally, case, ended)
                compare(tally, case, run, expected)
            _all_there(tally, case, run, before)
        lost(tally, "settings that affect nothing", planted)
    for number, words in enumerate(UNUSABLE[:1] if place.is_quick else UNUSABLE):
        case = f"{words[0]} {words[1]}"
        with finished.copied(place.folder / f"unusable-{number}") as run:
            planted, before = run.plant(), _contents(run)
            ended = place.run(run.folder, run.cache, *words)
            tally.refused(f"{case} in a finished run", ended, naming=tuple(words[0].removeprefix("--").split(".")))
            _nothing_run(tally, f"{case} in a finished run", ended)
            _all_there(tally, f"{case} in a finished run", run, before)
            lost(tally, f"{case} in a finished run", planted)
        if not place.is_quick:
            fresh = place.folder / f"fresh-{number}"
            ended = place.run(fresh / "run", fresh / "cache", *words)
            tally.refused(f"{case} in a new folder", ended)
            _nothing_run(tally, f"{case} in a new folder", ended)
    for number, words in enumerate(() if place.is_quick else OTHERS):  # quick: `tests/runs/test_run.py`
        with finished.copied(place.folder / f"other-{number}") as run:
            _change_and_return(place, tally, run, words, expected)


def _change_and_return(
    place: Place, tally: Tally, run: Finished, words: tuple[str, str], expected: dict[str, str]
) -> None:
    """Train with another setting, then ask for the first ones again."""
    case = " ".join(words)
    planted, before = run.plant(), _contents(run)
    if tally.succeeded(case, place.run(run.folder, run.cache, *words)):
        if run.results() == expected:
            tally.fault(WRONG, case, "changed nothing")
        _all_there(tally, case, run, before)
    case = f"the first settings again after {case}"
    ended = place.run(run.folder, run.cache)
    if tally.succeeded(case, ended):
        _nothing_run(tally, case, ended)
        compare(tally, case, run, expected)
    lost(tally, case, planted)


def _contents(run: Finished) -> set[str]:
    """Digests of what the stages have made: wherever it lies, it must go on lying somewhere."""
    weights = (path for path in run.folder.rglob("*.safetensors"))
    records = (path for path in (run.folder / "stages").rglob("history.json"))
    return {digest(path) for path in [*weights, *records]}


def _all_there(tally: Tally, case: str, run: Finished, before: set[str]) -> None:
    gone = before - _contents(run)
    if gone:
        tally.fault(LOST, case, f"{len(gone)} of {len(before)} finished files are gone")


def _nothing_run(tally: Tally, case: str, ended: Ended | None) -> None:
    text = ended.text if ended else ""
    run = [stage for stage in STAGES if f"{stage}: running in" in text or f"{stage}: resuming in" in text]
    if run:
        tally.fault(WRONG, case, f"ran {', '.join(run)}")
