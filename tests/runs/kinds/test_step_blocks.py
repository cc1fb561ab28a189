import numpy as np
import pytest

from rlvr_world_hf.data import Episode, window_rows
from rlvr_world_hf.runs.kinds import kind_of
from rlvr_world_hf.runs.kinds.step_blocks import lively_rows
from rlvr_world_hf.runs.stage import run_stages


def test_the_processor_knows_the_ranges_of_actions(whole_run):
    processor = kind_of(whole_run).build_processor()
    assert [*processor.action_low, *processor.action_high] == [-1.0] * 10 + [1.0] * 10
    assert processor.layout.action_bins == 8
    assert processor.fps == 2.0


def test_of_absolute_actions_it_knows_those_of_training(cache, small_recipe, tmp_path):
    recipe = small_recipe(tmp_path, **{"collect.action_law": "absolute"})
    run_stages(recipe, ["collect", "tokenizer"])
    processor = kind_of(recipe).build_processor()
    actions = np.concatenate([episode.actions for episode in kind_of(recipe).stored("train")])
    np.testing.assert_allclose(processor.action_low, actions.min(axis=0))
    np.testing.assert_allclose(processor.action_high, actions.max(axis=0))


def lively_by_reading_all(rows, count):
    """The same choice, made after reading every row."""
    moved: dict[str, list[tuple[float, int]]] = {}
    for index, row in enumerate(rows):
        if np.all(row["reference_mask"]):
            change = np.abs(row["reference"].astype(np.float32) - row["context"][-1:]).mean()
            moved.setdefault(row["episode"], []).append((float(change), index))
    chosen = [sorted(changes)[3 * (len(changes) - 1) // 4][1] for changes in moved.values()]
    count = min(count, len(chosen))
    return [rows[chosen[place * len(chosen) // count]] for place in range(count)]


class CountedEpisodes(list):
    """Episodes that note which of them were read."""

    def __init__(self, episodes):
        super().__init__(episodes)
        self.read = []

    def __getitem__(self, place):
        self.read.append(place)
        return super().__getitem__(place)


def moving_episode(name, brightness):
    frames = np.array(brightness, np.uint8)[:, None, None, None] * np.ones((1, 3, 2, 2), np.uint8)
    return Episode(episode_id=name, frames=frames, actions=np.zeros((len(frames), 1), np.float32), fps=1.0)


def test_of_each_episode_a_window_is_drawn_in_which_much_moves():
    # Brightness changes from frame to frame by 1, 9, 4, 6, 2 and by 5; by 3.
    episodes = [moving_episode("a", [0, 1, 10, 14, 20, 22]), moving_episode("b", [0, 5]), moving_episode("c", [7, 10])]
    rows = window_rows(episodes, horizon=1)
    chosen = [int(row["reference"].max()) - int(row["context"].max()) for row in lively_rows(rows, 3)]
    assert chosen == [6, 5, 3]
    assert [row["episode"] for row in lively_rows(rows, 2)] == ["a", "b"]


@pytest.mark.parametrize("count", [1, 4, 100])
def test_only_the_episodes_to_draw_are_read_and_the_choice_stays(count):
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 20, 30)  # some are too short for a whole window
    drawn = [rng.integers(0, 256, length) for length in lengths]
    episodes = CountedEpisodes(moving_episode(str(number), values) for number, values in enumerate(drawn))
    rows = window_rows(episodes, context_frames=1, observed_steps=1, horizon=4)
    expected = lively_by_reading_all(rows, count)
    all_read = len(episodes.read)
    episodes.read.clear()
    chosen = lively_rows(rows, count)
    assert [(row["episode"], row["start"]) for row in chosen] == [(row["episode"], row["start"]) for row in expected]
    assert {episodes[place].episode_id for place in set(episodes.read)} == {row["episode"] for row in chosen}
    assert count == 100 or len(episodes.read) < all_read / 2
