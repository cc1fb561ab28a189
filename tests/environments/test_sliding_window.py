import numpy as np
import pytest
import torch

from rlvr_world_hf.environments.sliding_window import SlidingWindow, advance
from rlvr_world_hf.environments.starts import read_start


HORIZON = 3


def open_window(pipeline, start, *, seed=0, horizon=HORIZON):
    rng = np.random.default_rng(seed)
    return SlidingWindow(read_start(start, pipeline.processor), pipeline.processor, horizon=horizon, rng=rng)


def columns(pipeline, frames, actions, states, **settings):
    """What the pipeline predicts, by the columns that are given to the next window."""
    states = {} if states is None else {"states": states}
    predicted = pipeline(frames, actions, **states, **settings)
    if isinstance(predicted, torch.Tensor):
        predicted = {"predicted": predicted}
    return {name.replace("predicted", "context"): futures[0] for name, futures in predicted.items()}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_it_does_what_pipeline_calls_do(world, temperature) -> None:
    """Two windows and the beginning of a third: each a call of the pipeline on the last states and actions."""
    pipeline, episodes = world
    layout = pipeline.processor.layout
    steps, past = 2 * HORIZON + 1, layout.prompt_actions - 1
    window = open_window(pipeline, episodes[0])
    all_actions = torch.from_numpy(np.random.default_rng(1).uniform(0, 512, (steps, 2)).astype(np.float32))
    reached, seeds = [], []
    for action in all_actions:
        reached += advance(pipeline, [window], action[None], temperature=temperature)
        seeds.append(window.seed)
    assert len(set(seeds)) == 3 and window.step == 1
    given = dict(read_start(episodes[0], pipeline.processor).given)
    taken = torch.cat([read_start(episodes[0], pipeline.processor).past_actions, all_actions])
    for done in range(0, steps, HORIZON):
        ahead = min(HORIZON, steps - done)
        expected = columns(
            pipeline,
            given["context"],
            taken[done : done + past + ahead],
            given.get("context_states"),
            horizon=ahead,
            temperature=temperature,
            seed=seeds[done],
        )
        for name, futures in expected.items():
            torch.testing.assert_close(torch.stack([state[name] for state in reached[done : done + ahead]]), futures)
            given[name] = torch.cat([given[name], futures])[-len(given[name]) :]


def test_windows_together_do_what_each_does_alone(world) -> None:
    """Also where they are not equally far, as after an episode that ended earlier."""
    pipeline, episodes = world
    rng = np.random.default_rng(2)
    actions = torch.from_numpy(rng.uniform(0, 512, (6, 3, 2)).astype(np.float32))
    alone = [open_window(pipeline, episode, seed=i) for i, episode in enumerate(episodes)]
    together = [open_window(pipeline, episode, seed=i) for i, episode in enumerate(episodes)]
    early = torch.full((1, 2), 256.0)
    advance(pipeline, alone[1:2], early)
    advance(pipeline, together[1:2], early)
    for of_step in actions:
        expected = [advance(pipeline, [window], of_step[i : i + 1])[0] for i, window in enumerate(alone)]
        for found, state in zip(advance(pipeline, together, of_step), expected, strict=True):
            for name in state:
                torch.testing.assert_close(found[name], state[name])


def test_equally_far_windows_share_one_call(world, monkeypatch) -> None:
    pipeline, episodes = world
    from rlvr_world_hf.environments import sliding_window

    sizes, sample = [], sliding_window.sample_completions

    def counted(model, prompt_ids, *arguments, **settings):
        sizes.append(len(prompt_ids))
        return sample(model, prompt_ids, *arguments, **settings)

    monkeypatch.setattr(sliding_window, "sample_completions", counted)
    windows = [open_window(pipeline, episode) for episode in episodes]
    advance(pipeline, windows, torch.zeros(3, 2))
    advance(pipeline, windows[:1], torch.zeros(1, 2))
    advance(pipeline, windows, torch.zeros(3, 2))
    assert sizes == [3, 1, 1, 2]


def test_the_start_is_left_as_it_is(world) -> None:
    pipeline, episodes = world
    start = read_start(episodes[0], pipeline.processor)
    before = {name: states.clone() for name, states in start.given.items()}
    window = SlidingWindow(start, pipeline.processor, horizon=1, rng=np.random.default_rng(0))
    for _ in range(3):
        advance(pipeline, [window], torch.zeros(1, 2))
    assert all(torch.equal(start.given[name], states) for name, states in before.items())
