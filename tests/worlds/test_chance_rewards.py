import numpy as np
import pytest
import torch

from rlvr_world_hf.rewards import EnergyScoreReward
from rlvr_world_hf.worlds.chance import OFFSETS, mode_probabilities, sample_law
from rlvr_world_hf.worlds.chance_rewards import (
    LawDistanceReward,
    LawErrorReward,
    ModeCoverageReward,
    ModeEntropyReward,
    _samples_of_law,
)


ROWS = 200


@pytest.fixture(scope="module")
def world() -> dict[str, torch.Tensor]:
    """States, actions, what followed, and predictions by the law itself, by its likeliest mode, and by its mean."""
    rng = np.random.default_rng(0)
    states, actions = rng.uniform(-0.8, 0.8, (ROWS, 2)), rng.uniform(-1, 1, (ROWS, 1))
    law = sample_law(states, actions, samples=64, seed=1)
    chances = mode_probabilities(actions)
    likeliest = 0.3 * states + OFFSETS[chances.argmax(axis=1)]
    mean = 0.3 * states + chances @ OFFSETS
    every = {
        "states": states[:, None], "actions": actions[:, None], "law": law[:, :, None],
        "reference": sample_law(states, actions, samples=1, seed=2),
        "likeliest": np.repeat(likeliest[:, None, None], 64, axis=1),
        "mean": np.repeat(mean[:, None, None], 64, axis=1),
    }  # fmt: skip
    return {name: torch.from_numpy(values).float() for name, values in every.items()}


def measured(reward, world: dict[str, torch.Tensor], name: str) -> float:
    given = {"context": world["states"], "actions": world["actions"]}
    return reward.metric_of_groups(world[name], world["reference"], **given).mean().item()


def test_the_law_itself_has_no_distance_and_everything_else_has(world) -> None:
    distance = LawDistanceReward()
    assert measured(distance, world, "law") == pytest.approx(0, abs=0.01)
    assert measured(distance, world, "likeliest") > 0.2
    assert measured(distance, world, "mean") > 0.2


def test_each_state_has_samples_of_its_own_whatever_stands_beside_it(world) -> None:
    """So their noise averages out over states, and is the same for each checkpoint."""
    same_tilt = world["actions"][:1].expand(20, -1, -1)
    given = {"context": world["states"][:20], "actions": same_tilt}
    for count in (64, 1):  # one state a part, and many
        own = LawErrorReward().metric_of_groups(world["law"][:20, :count], world["reference"][:20], **given)[:, 0]
        assert own.std() > 0.005, "equal draws would lie equally far from each other"
        if count == 64:
            expected = own
    torch.testing.assert_close(own, expected)
    for reward in (LawErrorReward(), LawDistanceReward()):
        columns = {"context": world["states"], "actions": world["actions"]}
        every = reward.metric_of_groups(world["law"], world["reference"], **columns)[:, 0]
        back = {name: values.flip(0) for name, values in columns.items()}
        turned = reward.metric_of_groups(world["law"].flip(0), world["reference"].flip(0), **back)[:, 0]
        torch.testing.assert_close(turned.flip(0), every)
    apart = [
        LawErrorReward().metric_of_groups(
            world["law"][:1], world["reference"][:1], context=zero, actions=same_tilt[:1]
        )
        for zero in (torch.zeros(1, 1, 2), -torch.zeros(1, 1, 2))
    ]
    assert torch.equal(*apart), "0 and -0 are one state"


def test_the_row_of_the_law_has_no_distance_and_other_samples(world) -> None:
    given = {"context": world["states"], "actions": world["actions"]}
    assert LawDistanceReward().knows_law and not EnergyScoreReward().knows_law
    drawn = LawDistanceReward().draw_law(world["reference"], count=32, **given)["predicted"]
    assert drawn.shape == (ROWS, 32, 1, 2) and drawn.dtype == world["reference"].dtype
    distance = LawDistanceReward().metric_of_groups(drawn, world["reference"], **given)
    assert distance.mean().item() == pytest.approx(0, abs=0.01)
    measured_against = _samples_of_law(world["states"][:, 0], world["actions"][:, 0]).float()
    assert not (drawn == measured_against[:, None]).all(dim=-1).any()
    with pytest.raises(NotImplementedError, match="`energy_score` knows no law"):
        EnergyScoreReward().draw_law(world["reference"], count=1, **given)


def test_modes_are_counted(world) -> None:
    assert measured(ModeCoverageReward(), world, "law") > 0.98
    chances = mode_probabilities(world["actions"][:, 0].numpy())
    expected = -(chances * np.log(chances)).sum(axis=1).mean()
    assert measured(ModeEntropyReward(), world, "law") == pytest.approx(expected, abs=0.05)
    assert measured(ModeEntropyReward(), world, "likeliest") == 0
    assert measured(ModeCoverageReward(), world, "likeliest") < 0.5


def test_the_energy_score_prefers_the_law_where_the_error_prefers_one_answer(world) -> None:
    """And the law's mean error is what the column of the table says."""
    energy = EnergyScoreReward()
    scores = {name: measured(energy, world, name) for name in ("law", "likeliest", "mean")}
    assert scores["law"] < min(scores["likeliest"], scores["mean"])
    errors = {
        name: (world[name][:, :, 0] - world["reference"]).norm(dim=2).mean().item()
        for name in ("law", "likeliest", "mean")
    }
    assert errors["law"] > min(errors["likeliest"], errors["mean"])
    assert errors["law"] == pytest.approx(measured(LawErrorReward(), world, "law"), abs=0.06)


def test_other_worlds_are_refused() -> None:
    states, actions = torch.zeros(1, 1, 2), torch.zeros(1, 2, 1)
    for predicted, context in ((torch.zeros(1, 3, 2, 2), states), (torch.zeros(1, 3, 1, 2), None)):
        with pytest.raises(ValueError, match="one step of two sensors.*`windows.horizon: 1`"):
            LawDistanceReward().metric_of_groups(predicted, predicted[:, 0], context=context, actions=actions)
