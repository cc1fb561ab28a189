"""
The ladder: the measure by which bases of PushT are judged, see `worlds/pusht/ladder.py`.

    windows    of held-out episodes, recorded once, each policy apart; the law of actions is that of the model
    rows       copy_last, tokenizer_floor, model: frames that are predicted some decisions ahead, and what they show
    yardstick  a row of a network that predicts states from states, see `worlds/pusht/state_model.py`
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from tqdm.auto import tqdm

from ..data.rows import load_episodes, save_episodes, window_rows
from ..environments.long_rollouts import predict_autoregressively, reconstruct_autoregressively
from ..evaluation.predictions import Predictor, RowBatch, Sampling, predict_copy_last, row_batches
from ..evaluation.provenance import commit, machine, versions
from ..evaluation.table import short_commits
from ..runs.progress import cached, fingerprint, read_json, write_json
from ..worlds.pusht.form import PushTForm
from ..worlds.pusht.ladder import (
    PLACE,
    POLICIES,
    TURN,
    held_out_episodes,
    ladder_errors,
    read_frames,
    read_states,
    training_episodes,
)
from ..worlds.pusht.state_model import StateModel, train_state_model


REVISION = 1
"""Raised when other episodes come of the same settings."""

STEPS = (1, 3, 5)
"""Decisions after which it is measured."""

WINDOWS_AN_EPISODE = 4
"""Windows of one episode, evenly over it."""

STRIDE = 10
"""Frames between two windows of an episode, or more if windows are longer."""

BATCH_SIZE = 50
"""Windows in memory at a time."""

YARDSTICK_UPDATES = 8000
"""Updates of the yardstick: about twenty minutes of one core."""

MEDIANS = ("agent_error", "block_error", "angle_error")
"""Errors that a few far-off windows decide the mean of: their median is told, too."""

Reader = Callable[[RowBatch], tuple[torch.Tensor, torch.Tensor | None]]
"""Says of windows where agent and block will be `(B, S, 5)`, and, unless it has none, the frames that show it."""


def measure_ladder(
    pipeline: Any,
    *,
    checkpoint: str,
    windows: int = 100,
    steps: Sequence[int] = STEPS,
    horizon: int = 4,
    temperature: float = 0.0,
    seed: int = 0,
    policies: Sequence[str] = (),
    yardstick_episodes: int = 0,
    yardstick_updates: int = YARDSTICK_UPDATES,
) -> dict[str, Any]:
    """
    Measure a world model of PushT.

    Args:
        pipeline ([`WorldModelPipeline`]):
            Model and processor.
        checkpoint (`str`):
            What the record calls it.
        windows (`int`, *optional*, defaults to 100):
            Windows of each policy.
        steps (`Sequence[int]`, *optional*, defaults to `(1, 3, 5)`):
            Decisions, each of one predicted frame, after which it is measured.
        horizon (`int`, *optional*, defaults to 4):
            Frames that the model was trained to predict at once; beyond them its window slides.
        temperature (`float`, *optional*, defaults to 0.0):
            Divides the logits; 0 takes the likeliest token.
        seed (`int`, *optional*, defaults to 0):
            Of the noise, where the temperature is above 0.
        policies (`Sequence[str]`, *optional*):
            Policies of held-out episodes, among those of the model's law; all of them by default.
        yardstick_episodes (`int`, *optional*, defaults to 0):
            Training episodes of the yardstick, which are recorded once; without any there is no such row.
        yardstick_updates (`int`, *optional*, defaults to 8000):
            Updates of it; it is trained once.

    Returns:
        `dict`: `checkpoint`, `commit`, `machine`, `versions` and the settings; `rows` (row -> policy -> decisions ->
        measure -> `mean`, `n`, and of errors `median`). Measures are those of
        [`~rlvr_world_hf.worlds.pusht.ladder.ladder_errors`], and `mae` of the pixels. Of `windows`, those count whose
        true frame can be read so far ahead: not where the block stands half in a wall. Errors are those of the ones in
        which there is something found, `n` of them; a measure of none is left out.

    Raises:
        ValueError: If it is no world model of PushT, or a setting is out of range.
    """
    form = PushTForm.of(pipeline.processor, name=checkpoint)
    policies = tuple(policies) or tuple(POLICIES[form.action_law])
    if windows < 1 or not steps or min(steps) < 1 or horizon < 1:
        raise ValueError(
            f"Expected at least one window, decision and predicted frame, got {windows}, {list(steps)} and {horizon}."
        )
    predictors: dict[str, Predictor] = {
        "copy_last": predict_copy_last,
        "tokenizer_floor": partial(reconstruct_autoregressively, processor=pipeline.processor, horizon=horizon),
        "model": partial(
            predict_autoregressively,
            pipeline=pipeline,
            horizon=horizon,
            sampling=Sampling(temperature=temperature),
            sampling_seed=seed,
        ),
    }
    dims = pipeline.processor.layout.sensor_dims
    readers: dict[str, Reader] = {
        row: partial(_read_frames, predict=predict, sensor_dims=dims) for row, predict in predictors.items()
    }
    yardstick = {}
    if yardstick_episodes:
        model, seconds = trained_yardstick(form, episodes=yardstick_episodes, updates=yardstick_updates)
        readers["yardstick"] = partial(_read_states, model=model, past=form.prompt_actions - 1)
        yardstick = {"episodes": yardstick_episodes, "updates": yardstick_updates, "seconds": seconds}
    rows: dict[str, dict[str, Any]] = {row: {} for row in readers}
    for policy in policies:
        held_out = _held_out(form, policy, pipeline.processor.layout, windows=windows, steps=max(steps))
        for row, errors in _measure(readers, held_out, label=policy).items():
            rows[row][policy] = {str(step): _summarize(errors, step) for step in steps}
    return {
        "ladder": "PushT",
        "checkpoint": checkpoint,
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "windows": windows,
        "steps": list(steps),
        "horizon": horizon,
        "temperature": temperature,
        "sampling_seeds": [seed],
        "form": dataclasses.asdict(form),
        "within": {"units": PLACE, "degrees": TURN},
        **({"yardstick": yardstick} if yardstick else {}),
        "rows": rows,
    }


def ladder_table(record: Mapping[str, Any]) -> str:
    """
    The Markdown table of a ladder.

    Args:
        record (`Mapping`):
            What [`measure_ladder`] returns.

    Returns:
        `str`: a line for each policy and row, a column for each measure; shares after each number of decisions, errors
        (medians) and `mae` after the last. With a final newline.
    """
    steps = [str(step) for step in record["steps"]]
    after, last = " / ".join(steps), steps[-1]
    units, degrees = record["within"]["units"], record["within"]["degrees"]
    head = [
        "moves",
        "row",
        f"block within {units:g} units, {degrees:g}° after {after}",
        f"within {units:g} units alone",
        f"block seen after {last}",
        "agent off, units",
        "block off, units",
        "angle off, °",
        "MAE",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for policy in next(iter(record["rows"].values())):
        for row, of_row in record["rows"].items():
            measured = of_row[policy]
            cells = [
                " / ".join(_share(measured[step], "within") for step in steps),
                " / ".join(_share(measured[step], "place_within") for step in steps),
                _share(measured[last], "block_found"),
                *(f"{measured[last][name]['median']:.1f}" if name in measured[last] else "-" for name in MEDIANS),
                f"{measured[last]['mae']['mean']:.4f}" if "mae" in measured[last] else "-",
            ]
            lines.append("| " + " | ".join([policy, row, *cells]) + " |")
    drawn = f"temperature {record['temperature']:g}, seed {record['sampling_seeds'][0]}"
    told = (
        f"`{record['checkpoint']}`; {record['windows']} held-out windows a policy, {drawn}; errors are medians after "
        f"{last}; commit `{short_commits(record['commit'])}`."
    )
    return "\n".join([*lines, "", told, ""])


def trained_yardstick(form: PushTForm, *, episodes: int, updates: int) -> tuple[StateModel, float]:
    """
    The yardstick of a form, recorded for and trained once.

    Args:
        form ([`PushTForm`]):
            Of the models that it is a yardstick for; law of actions and time between frames count.
        episodes (`int`):
            Training episodes.
        updates (`int`):
            Updates.

    Returns:
        `tuple[StateModel, float]`: the network, and the seconds that its training took.
    """
    form_of_states = {"frame_interval": form.frame_interval, "action_law": form.action_law}
    made_from = {"revision": REVISION, "episodes": episodes, **form_of_states}

    def record(folder: Path) -> None:
        recorded = training_episodes(form, count=episodes)
        save_episodes(tqdm(recorded, total=episodes, desc="record yardstick", disable=None), folder / "episodes")

    def train(folder: Path) -> None:
        recorded = load_episodes(cached("ladder", fingerprint(made_from), record) / "episodes")
        began = time.perf_counter()
        model = train_state_model(recorded, action_law=form.action_law, updates=updates)
        save_model(model, str(folder / "model.safetensors"))
        write_json(folder / "trained.json", {"seconds": round(time.perf_counter() - began, 1)})

    folder = cached("yardstick", fingerprint({**made_from, "updates": updates}), train)
    model = StateModel(action_dims=form.action_dims, action_law=form.action_law)
    load_model(model, folder / "model.safetensors")
    return model.eval(), read_json(folder / "trained.json")["seconds"]


def _held_out(form: PushTForm, policy: str, layout: Any, *, windows: int, steps: int) -> Any:
    """Dataset rows of a policy, so many, whose episodes are recorded once."""
    stride = max(STRIDE, form.given_frames + steps)
    count, length = -(-windows // WINDOWS_AN_EPISODE), WINDOWS_AN_EPISODE * stride
    made_from = {
        "revision": REVISION,
        "policy": policy,
        "how": POLICIES[form.action_law].get(policy),
        "count": count,
        "length": length,
        **{name: getattr(form, name) for name in ("image_size", "frame_interval", "action_law")},
    }

    def record(folder: Path) -> None:
        episodes = held_out_episodes(form, policy, count=count, length=length)
        save_episodes(tqdm(episodes, total=count, desc=f"record {policy}", disable=None), folder / "episodes")

    episodes = load_episodes(cached("ladder", fingerprint(made_from), record) / "episodes")
    rows = window_rows(
        episodes,
        context_frames=layout.context_frames,
        observed_steps=layout.observed_steps,
        horizon=steps,
        stride=stride,
    )
    return rows.select(range(windows))


def _read_frames(batch: RowBatch, *, predict: Predictor, sensor_dims: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`sensor_dims` is how much of the recorded states the model is told: of all it would see the block's, too."""
    assert batch.context_states is not None and batch.reference_states is not None  # recorded with them
    told = {name: getattr(batch, name)[..., :sensor_dims] for name in ("context_states", "reference_states")}
    frames = predict(dataclasses.replace(batch, **told)).predicted[:, 0]  # (B, S, 3, H, W)
    return read_frames(frames), frames


def _read_states(batch: RowBatch, *, model: StateModel, past: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`past` is the number of actions before the one that is taken at the last given frame."""
    assert batch.context_states is not None  # recorded with them
    actions = batch.actions[:, past : past + batch.reference.shape[1]]
    return model.predict(read_states(batch.context_states[:, -2:]), actions), None


def _measure(readers: Mapping[str, Reader], rows: Any, *, label: str) -> dict[str, dict[str, torch.Tensor]]:
    """Row -> measure -> its values `(N, S)` in all windows after each decision; nan where there is none."""
    measured: dict[str, dict[str, list[torch.Tensor]]] = {row: {} for row in readers}
    batches = row_batches(rows, size=BATCH_SIZE)
    for batch in tqdm(batches, total=-(-len(rows) // BATCH_SIZE), desc=label, disable=None):
        assert batch.reference_states is not None  # recorded with them
        truth = read_states(batch.reference_states)
        # A block that stands half in a wall has no pose that could be read.
        is_legible = ladder_errors(read_frames(batch.reference), truth)["within"] > 0
        for row, read in readers.items():
            places, frames = read(batch)
            errors = ladder_errors(places, truth)
            values = {name: of_name.masked_fill(~is_legible, torch.nan) for name, of_name in errors.items()}
            if frames is not None:
                values["mae"] = (frames - batch.reference).abs().mean(dim=(-3, -2, -1))
            for name, of_name in values.items():
                measured[row].setdefault(name, []).append(of_name.double())
    return {row: {name: torch.cat(parts) for name, parts in of_row.items()} for row, of_row in measured.items()}


def _summarize(measured: Mapping[str, torch.Tensor], step: int) -> dict[str, dict[str, float]]:
    """Measure -> mean, n and perhaps median of its values after so many decisions."""
    summaries: dict[str, dict[str, float]] = {}
    for name, of_windows in measured.items():
        values = of_windows[:, step - 1]
        values = values[~values.isnan()]
        if not len(values):
            continue
        summaries[name] = {"mean": values.mean().item(), "n": len(values)}
        if name in MEDIANS:
            summaries[name]["median"] = values.quantile(0.5).item()
    return summaries


def _share(measured: Mapping[str, Any], name: str) -> str:
    return f"{measured[name]['mean']:.2f}" if name in measured else "-"
