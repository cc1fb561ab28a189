import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest

from rlvr_world_hf.data import load_episodes, save_episodes, split_episodes, window_rows
from rlvr_world_hf.data.episode import Episode
from rlvr_world_hf.data.folder import RecordedEpisodes, UnusableEpisodesError
from rlvr_world_hf.data.rows import stream_window_rows
from rlvr_world_hf.data.windows import cut_window


def test_rows_are_the_windows_with_their_provenance(number) -> None:
    episodes = [number("a", 5), number("b", 4)]
    rows = window_rows(episodes, horizon=3)
    assert isinstance(rows, datasets.Dataset)
    assert [(row["episode"], row["start"]) for row in rows] == [("a", 0), ("a", 1), ("b", 0)]
    row, window = rows[1], cut_window(episodes[0], 1, context_frames=1, observed_steps=0, horizon=3)
    for name in ("context", "actions", "reference", "reference_mask", "reference_states"):
        expected = getattr(window, name)
        assert isinstance(row[name], np.ndarray) and row[name].dtype == expected.dtype
        assert np.array_equal(row[name], expected)


def test_rows_have_the_shapes_they_state(number) -> None:
    row = window_rows([number("a", 9)], context_frames=2, observed_steps=2, horizon=4)[0]
    assert row["context"].shape == (4, 3, 4, 4)
    assert row["actions"].shape == (6, 2)
    assert row["reference"].shape == (4, 3, 4, 4)
    assert row["reference_mask"].shape == (4,)
    assert row["context_states"].shape == row["reference_states"].shape == (4, 2)


def test_rows_of_single_step_prediction_give_history_and_one_frame(number) -> None:
    rows = window_rows([number("a", 5)], context_frames=0, observed_steps=3, horizon=1)
    assert [row["start"] for row in rows] == [0, 1]
    assert rows[1]["context"][:, 0, 0, 0].tolist() == [1, 2, 3] == rows[1]["actions"][:3, 0].tolist()
    assert rows[1]["reference"][:, 0, 0, 0].tolist() == [4]


def test_arrays_are_cut_when_a_row_is_read_and_not_before(number, monkeypatch) -> None:
    cut: list[int] = []

    def watched(episode: Episode, start: int, **arguments: int):
        cut.append(start)
        return cut_window(episode, start, **arguments)

    monkeypatch.setattr("rlvr_world_hf.data.rows.cut_window", watched)
    rows = window_rows([number("a", 50)], horizon=3)
    assert cut == []
    chosen = rows.select([5, 30])  # a dataset's own operations keep the transform
    assert [row["start"] for row in chosen] == [5, 30] == cut
    assert len(rows[:4]["context"]) == 4


def test_padded_windows_are_kept_on_request(number) -> None:
    assert len(window_rows([number("a", 6)], horizon=4)) == 2
    rows = window_rows([number("a", 6)], horizon=4, padded=True)
    assert [int(row["reference_mask"].sum()) for row in rows] == [4, 4, 3, 2, 1]
    assert [row["start"] for row in window_rows([number("a", 6)], horizon=2, stride=2)] == [0, 2]


def test_unknown_states_are_no_column(number) -> None:
    row = window_rows([number("a", 6, with_states=False)], horizon=2)[0]
    assert not {"context_states", "reference_states"} & set(row)


def test_without_frames_the_states_are_context_and_reference(number) -> None:
    rows = window_rows([number("a", 9, with_frames=False)], context_frames=0, observed_steps=2, horizon=3)
    row = rows[1]
    assert row["context"].dtype == row["reference"].dtype == np.float32
    assert row["context"].tolist() == [[1, 1], [2, 2]] and row["reference"].tolist() == [[3, 3], [4, 4], [5, 5]]
    assert row["actions"][:, 0].tolist() == [1, 2, 3, 4, 5]
    assert not {"context_states", "reference_states"} & set(row)


def test_states_of_given_and_predicted_frames_stand_beside_them(number) -> None:
    row = window_rows([number("a", 9)], context_frames=1, observed_steps=1, horizon=2)[3]
    for name in ("context", "reference"):
        assert row[f"{name}_states"][:, 0].tolist() == row[name][:, 0, 0, 0].tolist()


def test_episodes_that_are_too_short_give_no_rows(number) -> None:
    assert {row["episode"] for row in window_rows([number("a", 4), number("b", 6)], horizon=4)} == {"b"}
    with pytest.raises(ValueError, match="at least 7 frames, the longest of 2 has 6; shorten the horizon"):
        window_rows([number("a", 4), number("b", 6)], context_frames=2, observed_steps=1, horizon=4)
    with pytest.raises(ValueError, match="the longest of 0 has 0"):
        window_rows([], horizon=4)


def test_splits_never_share_an_episode(number) -> None:
    episodes = [number(str(name), 3) for name in range(20)]
    parts = split_episodes(episodes, validation=0.1, test=0.2, seed=3)
    names = [[episode.episode_id for episode in part] for part in parts]
    assert [len(part) for part in names] == [14, 2, 4]
    assert sorted(sum(names, [])) == sorted(episode.episode_id for episode in episodes)
    again = split_episodes(episodes, validation=0.1, test=0.2, seed=3)
    assert [[episode.episode_id for episode in part] for part in again] == names
    other = split_episodes(episodes, validation=0.1, test=0.2, seed=4)
    assert [episode.episode_id for episode in other[2]] != names[2]


def test_a_share_gets_at_least_one_episode_or_none_at_zero(number) -> None:
    parts = split_episodes([number(str(name), 3) for name in range(5)], validation=0.01, test=0.0)
    assert [len(part) for part in parts] == [4, 1, 0]
    with pytest.raises(ValueError, match="more than 2 episodes .* got 2; bring more or set fewer aside"):
        split_episodes([number("a", 3), number("b", 3)], validation=0.1, test=0.1)


@pytest.mark.parametrize(("with_frames", "with_states"), [(True, True), (True, False), (False, True)])
def test_stored_episodes_come_back_unchanged(tmp_path: Path, with_frames: bool, with_states: bool) -> None:
    numbers = np.random.default_rng(0)
    episodes = [
        Episode(
            episode_id=f"push {length}",
            frames=numbers.integers(0, 256, (length, 3, 6, 4), dtype=np.uint8) if with_frames else None,
            actions=numbers.normal(size=(length, 3)).astype(np.float32),
            fps=10 / 3,
            states=numbers.normal(size=(length, 2)).astype(np.float32) if with_states else None,
        )
        for length in (4, 7)
    ]
    save_episodes(iter(episodes), tmp_path / "episodes")
    loaded = load_episodes(tmp_path / "episodes")
    assert [episode.episode_id for episode in loaded] == ["push 4", "push 7"]
    for before, after in zip(episodes, loaded, strict=True):
        assert after.fps == before.fps
        for name in ("frames", "actions", "states"):
            kept, stored = getattr(after, name), getattr(before, name)
            assert (kept is None) == (stored is None)
            assert stored is None or (kept.dtype == stored.dtype and np.array_equal(kept, stored))


def test_stored_episodes_are_a_sequence_that_can_be_sent_to_another_process(number, tmp_path: Path) -> None:
    stored = save_episodes([number(name, 5) for name in "abc"], tmp_path)
    for episodes in (stored, pickle.loads(pickle.dumps(stored))):
        assert len(episodes) == 3
        assert (episodes[0].episode_id, episodes[-1].episode_id) == ("a", "c")
        assert [episode.episode_id for episode in episodes[1:]] == ["b", "c"]
        with pytest.raises(IndexError, match="from -3 to 2, got 3"):
            episodes[3]
    assert not stored[0].frames.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        stored[0].frames[0] = 0


def test_windows_of_stored_episodes_are_those_of_episodes_in_memory(number, tmp_path: Path) -> None:
    episodes = [number("a", 6), number("b", 7)]
    stored = window_rows(save_episodes(episodes, tmp_path), horizon=3)
    for row, other in zip(stored, window_rows(episodes, horizon=3), strict=True):
        assert row.keys() == other.keys()
        assert all(np.array_equal(row[name], other[name]) for name in row)


def test_storing_and_cutting_hold_few_episodes_in_memory(tmp_path: Path) -> None:
    size = 100_000  # bytes of an episode's frames
    frames = np.random.default_rng(0).integers(0, 256, (4, 3, 50, size // 600), dtype=np.uint8)

    def record() -> Iterator[Episode]:
        for number in range(300):
            yield Episode(
                episode_id=str(number),
                frames=frames + np.uint8(number % 256),
                actions=np.zeros((4, 1), np.float32),
                fps=1.0,
            )

    tracemalloc.start()
    try:
        stored = save_episodes(record(), tmp_path / "episodes")
        rows = window_rows(stored, horizon=1)
        seen = {int(row["reference"][0, 0, 0, 0]) for row in rows}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(rows) == 900
    assert len(seen) > 200
    assert peak < 60 * size


def test_storing_nothing_and_loading_nothing_fail(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one episode .* collect or load some first"):
        save_episodes([], tmp_path / "episodes")
    assert not (tmp_path / "episodes").exists()
    with pytest.raises(FileNotFoundError, match="run the collect stage first"):
        load_episodes(tmp_path / "episodes")


def test_a_failing_source_leaves_what_was_stored(number, tmp_path: Path) -> None:
    save_episodes([number("old", 3)], tmp_path)

    def failing():
        yield number("new", 3)
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        save_episodes(failing(), tmp_path)
    assert [episode.episode_id for episode in load_episodes(tmp_path)] == ["old"]


def test_streamed_windows_ask_for_the_alignment_as_episodes_do(tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", frames=np.full((5, 8, 8, 3), 9, np.uint8), actions=np.zeros((5, 2)))
    source = RecordedEpisodes(folder=tmp_path)
    with pytest.raises(UnusableEpisodesError, match="alignment"):
        window_rows(source.read(), horizon=2)
    with pytest.raises(UnusableEpisodesError, match="alignment"):
        stream_window_rows(source, horizon=2)


@pytest.mark.parametrize("share", [-1, -0.5, 1.5, float("nan"), float("inf")])
def test_a_share_that_is_none_is_refused(number, share: float) -> None:
    with pytest.raises(ValueError, match=r"a share in \(0, 1\), or a whole number of 0 or more, got"):
        split_episodes([number(str(name), 3) for name in range(5)], validation=share, test=0)
