import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_world_hf.data.episode import Episode
from rlvr_world_hf.tokenizers import CompressiveTokenizer, FrameTokenizer
from rlvr_world_hf.training import tokenizer_training
from rlvr_world_hf.training.clips import EpisodeFrames
from rlvr_world_hf.training.tokenizer_training import (
    TokenizerRun,
    TokenizerTrainingConfig,
    learning_rate_at,
    train_tokenizer,
    validate_tokenizer,
)


ADVERSARIAL = {
    "adversarial_weight": 0.1,
    "adversarial_start": 3,
    "discriminator_depth": 2,
    "discriminator_width": 4,
}


def make_codec(*, size: int = 16, seed: int = 0) -> CompressiveTokenizer:
    torch.manual_seed(seed)
    return CompressiveTokenizer(
        image_size=(size, size), block_out_channels=(8, 8), norm_num_groups=4, latent_channels=8
    )


def make_episodes(count: int, *, seed: int, size: int = 16, length: int = 8) -> list[Episode]:
    """A bright square that walks over a still pattern."""
    numbers = np.random.default_rng(seed)
    episodes = []
    for index in range(count):
        frames = np.repeat(numbers.integers(0, 128, (1, 3, size, size), dtype=np.uint8), length, axis=0)
        for time in range(length):
            frames[time, :, 4:8, time : time + 4] = 255
        actions = np.zeros((length, 2), np.float32)
        episodes.append(Episode(episode_id=f"{seed}-{index}", frames=frames, actions=actions, fps=2.0))
    return episodes


EPISODES, VALIDATION = make_episodes(4, seed=0), make_episodes(2, seed=1)


def train(output_dir: Path, codec: CompressiveTokenizer | None = None, **changes: Any) -> tuple[Any, Any]:
    codec = make_codec() if codec is None else codec
    arguments: dict[str, Any] = {
        "max_steps": 8,
        "batch_size": 2,
        "later_frames": 2,
        "horizon": 3,
        "warmup_steps": 2,
        "save_steps": 3,
    }
    args = TokenizerTrainingConfig(**(arguments | changes))
    history = train_tokenizer(codec, EPISODES, VALIDATION, output_dir=output_dir, args=args)
    return codec, history


def assert_equal(first: torch.nn.Module, second: torch.nn.Module) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


class Killed(Exception):
    """Stands for the end of the process."""


def kill_in_update(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    update = TokenizerRun.update

    def update_until_killed(run: TokenizerRun, *arguments: Any, **options: Any) -> dict[str, float]:
        if run.step + 1 == number:
            raise Killed
        return update(run, *arguments, **options)

    monkeypatch.setattr(TokenizerRun, "update", update_until_killed)


def test_training_makes_the_tokenizer_better_and_saves_it(tmp_path: Path) -> None:
    codec, history = train(tmp_path, max_steps=60, save_steps=20, learning_rate=3e-3)
    assert [entry["step"] for entry in history] == [20, 40, 60]
    assert history[-1]["mae_context"] < history[0]["mae_context"]
    assert not codec.training
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "history.json",
        "progress.json",
    ]
    assert json.loads((tmp_path / "history.json").read_text()) == history
    assert_equal(CompressiveTokenizer.from_pretrained(tmp_path), codec)


def test_a_tokenizer_of_single_frames_is_trained_on_the_same_clips(tmp_path: Path) -> None:
    torch.manual_seed(0)
    codec = FrameTokenizer(image_size=(16, 16), block_out_channels=(8, 8), norm_num_groups=4, latent_channels=8)
    codec, history = train(tmp_path, codec, max_steps=60, save_steps=20, learning_rate=3e-3, context_weight=1.0)
    assert history[-1]["mae"] < history[0]["mae"] and history[-1]["mae_context"] < history[0]["mae_context"]
    assert 0 < history[-1]["moving"] < 1 and 0 < history[-1]["mae_copy_last"] < 1
    assert_equal(FrameTokenizer.from_pretrained(tmp_path), codec)


def test_the_history_tells_errors_and_how_much_of_each_codebook_is_used(tmp_path: Path, capsys) -> None:
    _, history = train(tmp_path)
    assert [entry["step"] for entry in history] == [3, 6, 8]
    for entry in history:
        assert 0 < entry["mae"] < 1 and 0 < entry["mae_copy_last"] < 1 and 0 < entry["moving"] < 1
        assert 1 <= entry["dynamics_codes"] <= 1000 and 1 <= entry["context_codes"] <= 1000
    seconds = [entry["seconds"] for entry in history]
    assert seconds == sorted(seconds)
    line = capsys.readouterr().err
    assert "mae_moving=" in line and f"dynamics_codes={history[-1]['dynamics_codes']}" in line


@pytest.fixture(scope="module", params=[{}, {"bf16": True}, ADVERSARIAL], ids=["plain", "bf16", "adversarial"])
def whole_training(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """What is changed of a training, and the codec and the history of one that was not killed."""
    return request.param, *train(tmp_path_factory.mktemp("whole"), **request.param)


@pytest.mark.parametrize("killed_in", [2, 5, 8])
def test_a_killed_run_ends_with_the_parameters_of_one_that_was_not(
    whole_training: tuple[Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: int
) -> None:
    changes, whole, history = whole_training
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_in_update(patch, killed_in)
        train(tmp_path / "killed", **changes)
    assert (tmp_path / "killed" / "resume.pt").exists() == (killed_in > 3)
    # The new process starts from other weights where a saved state replaces them.
    resumed, continued = train(tmp_path / "killed", make_codec(seed=int(killed_in > 3)), **changes)
    assert_equal(resumed, whole)
    for first, second in zip(history, continued, strict=True):
        assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_processes_that_read_ahead_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, history = train(tmp_path / "alone")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_in_update(patch, 5)
        train(tmp_path / "helped", dataloader_num_workers=1)
    helped, resumed = train(tmp_path / "helped", make_codec(seed=1), dataloader_num_workers=2)
    assert_equal(helped, whole)
    assert [{**entry, "seconds": 0} for entry in resumed] == [{**entry, "seconds": 0} for entry in history]
    with pytest.raises(ValueError, match="`dataloader_num_workers` of 0 or more, got -1"):
        TokenizerTrainingConfig(dataloader_num_workers=-1)


def test_reading_draws_nothing_from_torch(tmp_path: Path) -> None:
    """A codec of one's own may draw, and what it draws must not depend on how clips are read."""
    codec = make_codec()
    before = torch.get_rng_state()
    train(tmp_path, codec, max_steps=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_kill_while_saving_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = train(tmp_path / "whole")
    save = torch.save

    def save_half(state: dict[str, Any], file: Path) -> None:
        if state["step"] < 6:
            return save(state, file)
        Path(file).write_bytes(b"half of a state")
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(torch, "save", save_half)
        train(tmp_path / "killed")
    assert torch.load(tmp_path / "killed" / "resume.pt", weights_only=True)["step"] == 3
    resumed, _ = train(tmp_path / "killed", make_codec(seed=1))
    assert_equal(resumed, whole)


@pytest.fixture(scope="module")
def killed_in_its_last_update(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The codec of a training that was not killed, and the folder of one that was."""
    whole, _ = train(tmp_path_factory.mktemp("whole"))
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_in_update(patch, 8)
        train(folder)
    return whole, folder


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x00\xff" * 500, b"(.", None])
def test_a_damaged_state_is_named_and_the_one_before_it_taken(
    killed_in_its_last_update: tuple[Any, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    content: bytes | None,
) -> None:
    whole, killed = killed_in_its_last_update
    folder = shutil.copytree(killed, tmp_path / "killed")
    state = (folder / "resume.pt").read_bytes()
    (folder / "resume.pt").write_bytes(state[: len(state) // 2] if content is None else content)
    with monkeypatch.context() as patch:
        steps = []
        update = TokenizerRun.update
        patch.setattr(
            TokenizerRun, "update", lambda run, *given, **named: steps.append(run.step) or update(run, *given, **named)
        )
        resumed, _ = train(folder, make_codec(seed=1))
    assert steps == [3, 4, 5, 6, 7]
    assert f"Passing over a saved state: {folder / 'resume.pt'} was damaged" in caplog.text
    assert_equal(resumed, whole)
    assert sorted(path.name for path in folder.glob("resume*")) == []


def test_a_kill_after_the_last_step_only_writes_the_result_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    codec = make_codec()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(CompressiveTokenizer, "save_pretrained", killed)
        train(tmp_path, codec)
    finished, history = train(tmp_path, make_codec(seed=1))
    assert_equal(finished, codec)
    assert [entry["step"] for entry in history] == [3, 6, 8]


def test_seconds_count_every_part_of_a_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bar:
        """A progress bar that is always two seconds old."""

        format_dict = {"elapsed": 2.0}

        def __init__(self, steps: range, **_: Any) -> None:
            self.steps = steps

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: Any) -> None:
            pass

        def __iter__(self) -> Any:
            return iter(self.steps)

        def set_postfix(self, _: dict[str, str]) -> None:
            pass

    monkeypatch.setattr(tokenizer_training, "tqdm", Bar)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_in_update(patch, 5)
        train(tmp_path)
    assert [entry["seconds"] for entry in train(tmp_path)[1]] == [2.0, 4.0, 4.0]


def test_the_adversary_plays_from_its_first_step_on(tmp_path: Path) -> None:
    plain, _ = train(tmp_path / "plain")
    late, history = train(tmp_path / "late", **(ADVERSARIAL | {"adversarial_start": 8}))
    assert_equal(late, plain)
    assert all("discriminator" not in entry for entry in history)
    played, history = train(tmp_path / "played", **ADVERSARIAL)
    assert ["discriminator" in entry for entry in history] == [False, True, True]
    assert not torch.equal(played.dynamics_out.weight, plain.dynamics_out.weight)


def test_a_state_of_another_kind_of_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_in_update(patch, 5)
        train(tmp_path)
    with pytest.raises(ValueError, match=r"resume.pt to be of a run with an adversarial loss.* another folder"):
        train(tmp_path, **ADVERSARIAL)


def test_lpips_is_minimized_where_its_trunk_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"trunk `vgg16` at .*vgg.pth, which does not exist.*`trunk_path`"):
        train(tmp_path, perceptual_weight=1.0, perceptual_trunk=tmp_path / "vgg.pth")
    load = tokenizer_training.load_lpips
    monkeypatch.setattr(tokenizer_training, "load_lpips", lambda net, *, trunk_path: load(net, trunk="random"))
    large = {"size": 32, "seed": 0}
    monkeypatch.setattr(f"{__name__}.EPISODES", make_episodes(2, **large))
    monkeypatch.setattr(f"{__name__}.VALIDATION", make_episodes(1, **large))
    weights = {}
    for weight in (0.0, 1.0):
        codec, _ = train(
            tmp_path / str(weight),
            make_codec(size=32),
            max_steps=2,
            perceptual_weight=weight,
            perceptual_net="squeeze",
        )
        weights[weight] = codec.dynamics_out.weight
    assert weights[1.0].isfinite().all() and not torch.equal(weights[0.0], weights[1.0])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"horizon": 8}, r"at least 9 frames \(1 of context, 8 of horizon\), got one of 8; shorten"),
        ({"later_frames": 4}, "`later_frames` from 1 to the horizon, 3, got 4"),
        ({"later_frames": 0}, "from 1 to the horizon"),
    ],
)
def test_clips_that_cannot_be_cut_are_refused(tmp_path: Path, changes: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        train(tmp_path, **changes)


def test_validation_leaves_the_tokenizer_as_it_was() -> None:
    codec = make_codec().train()
    values = [validate_tokenizer(codec, EpisodeFrames(VALIDATION), horizon=3, batches=2) for _ in range(2)]
    assert values[0] == values[1]
    assert codec.training
    assert all(parameter.grad is None for parameter in codec.parameters())


def test_the_learning_rate_warms_up_and_falls_to_two_percent() -> None:
    rates = [learning_rate_at(step, max_steps=100, warmup_steps=10, peak=1.0) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) > 0.97
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.02)
