"""What every reward of the room owes its caller, found by discovery: a new reward is tested by being there."""

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rlvr_world_hf.rewards import VerifiableReward
from rlvr_world_hf.rewards.base import AGGREGATIONS
from rlvr_world_hf.rewards.pixel import MAEReward, PixelReward
from rlvr_world_hf.worlds.pusht.pose import draw_block
from tests.rewards.discovery import reward_classes
from tests.rewards.small_models import backbone_folder, inverse_folder


# What a reward needs to be made without files from elsewhere, and for small frames.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "ActionRecoveryReward": {"model": inverse_folder()},
    "FeatureDistanceReward": {"backbone": backbone_folder()},
    "LPIPSReward": {"net": "squeeze", "trunk": "random"},
    "MSSSIMReward": {"scales": 3},
}

# Judges of a prediction alone, to which no reference is near or far, each with what is worse than two frames; held to
# that by a test of their own. What a network reads of actions is tested beside it.
WORSE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "RepetitionReward": lambda frames: frames[[0, 0]],
    "RigidityReward": lambda frames: torch.stack([frames[0], torch.ones_like(frames[1])]),
}
READS_NO_REFERENCE = {*WORSE, "ActionRecoveryReward"}


def make_rewards(*, of_groups: bool = False) -> list[VerifiableReward]:
    concrete = [cls for cls in reward_classes(VerifiableReward) if cls.needs_group == of_groups]
    on_pixels = [cls for cls in concrete if issubclass(cls, PixelReward)]
    forms: list[tuple[type, dict[str, Any]]] = [(cls, {}) for cls in concrete]
    forms += [(cls, {"pixels": "moving"}) for cls in on_pixels]  # each measures its own way where it is masked
    if not of_groups:
        forms += [(MAEReward, {"aggregation": name}) for name in AGGREGATIONS if name != "mean"]  # the base's, for all
    return [cls(**ARGUMENTS.get(cls.__name__, {}), **form) for cls, form in forms]


REWARDS, GROUP_REWARDS = make_rewards(), make_rewards(of_groups=True)
JUDGES = [reward for reward in REWARDS if type(reward).__name__ in READS_NO_REFERENCE]
every_reward = pytest.mark.parametrize("reward", REWARDS, ids=lambda reward: reward.name)
every_reward_of_states = pytest.mark.parametrize(
    "reward", [reward for reward in REWARDS if not reward.needs_actions], ids=lambda reward: reward.name
)
every_group_reward = pytest.mark.parametrize(
    # Those that know the law of a world are measures of that world, tested beside it.
    "reward",
    [reward for reward in GROUP_REWARDS if not reward.needs_actions],
    ids=lambda reward: reward.name,
)
every_differentiable_reward = pytest.mark.parametrize(
    "reward", [reward for reward in REWARDS if reward.differentiable], ids=lambda reward: reward.name
)
every_comparison = pytest.mark.parametrize(
    "reward", [reward for reward in REWARDS if reward not in JUDGES], ids=lambda reward: reward.name
)


def draw_sensors(x: int) -> torch.Tensor:
    """64 sensors in a row, excited around one of them: `(64,)`."""
    return torch.exp(-(torch.arange(64) - x).square() / 72)


def draw_frame(x: int, y: int) -> torch.Tensor:
    """A textured table of PushT with the agent's disc at a pixel and the block below it: `(3, 64, 64)`."""
    frame = 1 - torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.02
    share = draw_block(torch.tensor([(x + 6) / 64, (y + 18) / 64, 0.5]), 64)
    block, agent = (torch.tensor(colour)[:, None, None] / 255 for colour in ([142.8, 163.2, 183.6], [65, 105, 225]))
    frame = frame * (1 - share) + block * share
    frame[:, y - 2 : y + 2, x - 2 : x + 2] = agent
    return frame


@pytest.fixture
def batch(reward: VerifiableReward) -> dict[str, list[torch.Tensor]]:
    """Three samples of two steps of what the reward reads; their context shows the same things elsewhere."""
    if reward.reads == "sensors":
        reference = [torch.stack([draw_sensors(20 + 4 * row), draw_sensors(22 + 4 * row)]) for row in range(3)]
        return {"reference": reference, "context": [draw_sensors(30).unsqueeze(0)] * 3}
    reference = [torch.stack([draw_frame(20 + 4 * row, 20), draw_frame(22 + 4 * row, 24)]) for row in range(3)]
    done = {"actions": [torch.full((3, 2), 200.0)] * 3} if reward.needs_actions else {}
    return {"reference": reference, "context": [draw_frame(30, 40).unsqueeze(0)] * 3, **done}


def test_the_room_is_found() -> None:
    names = {reward.name for reward in REWARDS}
    assert {"mae", "mse", "psnr", "ssim", "ms_ssim_3", "lpips_squeeze_random", "agent_position_mae"} <= names
    assert {"sensor_mae", "sensor_mse", "sensor_accuracy"} <= names
    assert {"block_pose_error", "rigidity_error", "temporal_error"} <= names
    assert {"feature_distance_tiny", "action_recovery_error"} <= names
    assert {reward.name for reward in GROUP_REWARDS} == {
        "energy_score", "law_distance", "law_error", "mode_coverage", "mode_entropy"
    }  # fmt: skip
    assert {"repetition_rate", "mae_moving", "lpips_squeeze_random_moving", "mae_last", "mae_discounted"} <= names
    assert len(names) == len(REWARDS)
    differentiable = {reward.name for reward in REWARDS if reward.differentiable}
    assert {"mae", "ssim", "temporal_error", "feature_distance_tiny", "action_recovery_error"} <= differentiable
    assert not {"repetition_rate", "rigidity_error", "block_pose_error", "agent_position_mae"} & differentiable


@every_reward_of_states
def test_identical_states_get_the_best_value(reward: VerifiableReward, batch: dict[str, Any]) -> None:
    best = reward.best if reward.higher_is_better else -reward.best
    assert reward(predicted=batch["reference"], **batch) == pytest.approx([best] * 3, abs=1e-5)


@every_comparison
def test_the_further_the_worse_and_order_is_kept(reward: VerifiableReward, batch: dict[str, Any]) -> None:
    shifts = [2, 0, 1]
    predicted = [frames.roll(shift, dims=-1) for frames, shift in zip(batch["reference"], shifts, strict=True)]
    twice, perfect, once = reward(predicted=predicted, **batch)
    assert None not in (twice, perfect, once)
    assert twice < once < perfect  # type: ignore[operator]
    floor = reward.floor if reward.higher_is_better else -reward.floor
    assert twice > floor
    alone = [
        reward(predicted=[state], reference=[reference], context=[context])[0]
        for state, reference, context in zip(predicted, batch["reference"], batch["context"], strict=True)
    ]
    assert alone == pytest.approx([twice, perfect, once], abs=1e-5)


@every_differentiable_reward
def test_a_gradient_leads_to_more_reward_where_a_reward_says_so(
    reward: VerifiableReward, batch: dict[str, Any]
) -> None:
    columns = {name: torch.stack(column).float() for name, column in batch.items()}
    # Not the reference itself, where a distance has no slope; nothing moves in the last sample.
    columns["context"][-1] = columns["reference"][-1, :1]
    columns["reference"][-1] = columns["reference"][-1, :1]
    shift = 0.1 * torch.rand(columns["reference"].shape, generator=torch.Generator().manual_seed(1))
    predicted = (0.8 * columns["reference"] + shift).requires_grad_()
    scores = reward.score(predicted, **columns, gradient=True)
    torch.testing.assert_close(scores.detach(), reward.score(predicted, **columns), equal_nan=True)
    assert not reward.score(predicted, **columns).requires_grad
    scores.nan_to_num().sum().backward()
    assert predicted.grad is not None and predicted.grad.isfinite().all()
    slopes = predicted.grad[:2].flatten(1)
    assert slopes.abs().amax(dim=1).all()
    small = 5e-3 * predicted.grad / predicted.grad.abs().max()
    after = reward.score((predicted + small).detach().clamp(0, 1), **columns)
    assert (after.nan_to_num().sum() > scores.nan_to_num().sum()).item()


@pytest.mark.parametrize("reward", JUDGES, ids=lambda reward: reward.name)
def test_a_judge_of_the_prediction_reads_no_reference(reward: VerifiableReward, batch: dict[str, Any]) -> None:
    worse = WORSE.get(type(reward).__name__)
    predicted = [
        frames if row % 2 or worse is None else worse(frames) for row, frames in enumerate(batch["reference"])
    ]
    rewards = reward(predicted=predicted, **batch)
    assert rewards == reward(predicted=predicted, **batch | {"reference": predicted})
    if worse is not None:
        assert rewards[0] == rewards[2] < rewards[1]  # type: ignore[operator]


@every_reward
def test_the_unreadable_gets_the_floor_and_is_counted(reward: VerifiableReward, batch: dict[str, Any]) -> None:
    logged: dict[str, float] = {}
    predicted = [batch["reference"][0], None, None]
    batch |= {"reference": [*batch["reference"][:2], None]}
    rewards = reward(predicted=predicted, log_metric=logged.__setitem__, **batch)
    assert rewards[1] == (reward.floor if reward.higher_is_better else -reward.floor)
    assert rewards[2] is None, "a reference that cannot be scored is left out"
    assert logged["parse_failure"] == pytest.approx(0.5)
    assert set(logged) == {"parse_failure"} | set(reward.diagnose(torch.zeros(1, 1, 3, 64, 64), torch.zeros(1)))


@every_reward
def test_padding_does_not_count(reward: VerifiableReward, batch: dict[str, Any]) -> None:
    predicted = [torch.stack([frames[0].roll(1, dims=-1), frames[1] * 0]) for frames in batch["reference"]]
    mask = [torch.tensor([True, False])] * 3
    masked = reward(predicted=predicted, reference_mask=mask, **batch)
    short = {"reference": [frames[:1] for frames in batch["reference"]]}
    first = reward(predicted=[frames[:1] for frames in predicted], **batch | short)
    assert masked == pytest.approx(first, abs=1e-5)
    assert reward(predicted=predicted, reference_mask=[torch.tensor([False, False])] * 3, **batch) == [None] * 3


@every_reward
def test_it_survives_pickling(reward: VerifiableReward, batch: dict[str, Any]) -> None:
    predicted = [frames.roll(1, dims=-2) for frames in batch["reference"]]
    before = reward(predicted=predicted, **batch)
    data = pickle.dumps(reward)
    assert len(data) < 10_000, "weights are no part of a pickle"
    assert pickle.loads(data)(predicted=predicted, **batch) == before


@every_reward
def test_metric_and_score_differ_in_sign_only(reward: VerifiableReward, batch: dict[str, Any]) -> None:
    given = {name: torch.stack(column) for name, column in batch.items()}
    reference = given.pop("reference")
    predicted = reference.roll(1, dims=-1)
    metric, score = (measured(predicted, reference, **given) for measured in (reward.metric, reward.score))
    assert torch.equal(score, metric if reward.higher_is_better else -metric)
    assert score.tolist() == reward(predicted=predicted, reference=reference, **given)


@every_reward
def test_the_mean_of_its_steps_is_the_reward(reward: VerifiableReward, batch: dict[str, Any]) -> None:
    predicted = [None, *(frames.roll(1, dims=-1) for frames in batch["reference"][1:])]
    columns = {**batch, "predicted": predicted, "reference_mask": [torch.tensor([True, row < 2]) for row in range(3)]}
    steps = reward.score_steps(**columns)
    assert steps.shape == (3, 2) and steps[2, 1].isnan()
    rewards = [torch.nan if reward is None else reward for reward in reward(**columns)]
    assert steps.nanmean(dim=1).tolist() == pytest.approx(rewards, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("reward", [*REWARDS, *GROUP_REWARDS], ids=lambda reward: reward.name)
def test_it_has_trl_s_form_and_an_example(reward: VerifiableReward) -> None:
    from trl.trainer.utils import get_callable_name, is_async_callable

    assert get_callable_name(reward) == reward.name
    assert not is_async_callable(reward)
    assert not isinstance(reward, torch.nn.Module), "TRL takes a module for a reward model"
    assert ">>>" in (inspect.getdoc(type(reward)) or "")


def draw_group(*, size: int = 4) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Predictions of one reference, each a little farther off."""
    reference = torch.stack([draw_frame(24, 20), draw_frame(26, 24)])
    return [reference.roll(shift, dims=-1) for shift in range(size)], reference


@every_group_reward
def test_a_group_of_identical_states_gets_the_best_value(reward: VerifiableReward) -> None:
    predicted, reference = draw_group()
    best = reward.best if reward.higher_is_better else -reward.best
    assert reward(predicted=[reference] * 4, reference=[reference] * 4) == pytest.approx([best] * 4, abs=1e-5)
    assert all(value is not None for value in reward(predicted=predicted, reference=[reference] * 4))


@every_group_reward
def test_a_group_keeps_its_order_whatever_stands_beside_it(reward: VerifiableReward) -> None:
    predicted, reference = draw_group()
    other, recorded = [frames * 0.5 for frames in predicted], reference * 0.5
    alone = reward(predicted=predicted, reference=[reference] * 4)
    turned = reward(predicted=predicted[::-1], reference=[reference] * 4)
    assert turned == pytest.approx(alone[::-1], abs=1e-4)
    both = reward(predicted=[*other, *predicted], reference=[recorded] * 4 + [reference] * 4)
    assert both[4:] == pytest.approx(alone, abs=1e-4)


@every_group_reward
def test_a_group_that_is_farther_off_is_worse_on_average(reward: VerifiableReward) -> None:
    predicted, reference = draw_group()
    near, far = (
        torch.tensor(
            reward(predicted=[frames.roll(shift, dims=-2) for frames in predicted], reference=[reference] * 4)
        )
        for shift in (0, 6)
    )
    assert far.mean() < near.mean()


@every_group_reward
def test_the_unreadable_of_a_group_gets_the_floor_and_padding_does_not_count(reward: VerifiableReward) -> None:
    predicted, reference = draw_group(size=5)
    logged: dict[str, float] = {}
    values = reward(predicted=[None, *predicted[1:]], reference=[reference] * 5, log_metric=logged.__setitem__)
    floor = reward.floor_of(reference)
    assert values[0] == (floor if reward.higher_is_better else -floor) <= min(values[1:])
    assert logged["parse_failure"] == pytest.approx(0.2) and values[1:] == pytest.approx(
        reward(predicted=predicted[1:], reference=[reference] * 4), abs=1e-4
    )
    assert reward(predicted=predicted, reference=[None] * 5) == [None] * 5
    mask, dark = torch.tensor([True, False]), [torch.stack([frames[0], frames[1] * 0]) for frames in predicted]
    masked = reward(predicted=dark, reference=[reference] * 5, reference_mask=[mask] * 5)
    first = reward(predicted=[frames[:1] for frames in predicted], reference=[reference[:1]] * 5)
    assert masked == pytest.approx(first, abs=1e-4)


@every_group_reward
def test_a_reward_of_groups_survives_pickling(reward: VerifiableReward) -> None:
    predicted, reference = draw_group()
    again = pickle.loads(pickle.dumps(reward))
    columns = {"predicted": predicted, "reference": [reference] * 4}
    assert len(pickle.dumps(reward)) < 10_000 and again(**columns) == reward(**columns)
