"""The energy score: its table form, its credit, and what a policy learns from them."""

from itertools import product
from typing import Any

import pytest
import torch

from rlvr_world_hf.rewards import EnergyScoreReward, SensorMAEReward, base
from rlvr_world_hf.rewards.energy import FLOOR, energy_credit, energy_score
from rlvr_world_hf.training.advantages import group_advantages


def groups(seed: int = 0, *, rows: int = 3, size: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions `(B, G, 2, 3, 8, 8)` and references `(B, 2, 3, 8, 8)` of noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, size, 2, 3, 8, 8, generator=generator), torch.rand(rows, 2, 3, 8, 8, generator=generator)


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one.double() - other.double()).flatten().norm().item()


def rewards_without(predicted: torch.Tensor, reference: torch.Tensor, left_out: int | None) -> dict[int, float]:
    """The quantity r_k of every prediction of a group from which one is left out, written as it is defined."""
    rest = [member for member in range(len(predicted)) if member != left_out]
    return {
        k: -distance(predicted[k], reference)
        + sum(distance(predicted[k], predicted[j]) for j in rest if j != k) / (len(rest) - 1)
        for k in rest
    }


@pytest.mark.parametrize("size", [3, 4, 7])
def test_the_table_has_the_score_and_the_differences_are_the_credit(size: int) -> None:
    predicted, reference = groups(size=size)
    rewards = EnergyScoreReward().score_groups(predicted, reference).rewards
    for row in range(len(predicted)):
        pairs = [distance(predicted[row, i], predicted[row, j]) for i, j in product(range(size), repeat=2) if i != j]
        errors = [distance(one, reference[row]) for one in predicted[row]]
        score = sum(errors) / size - sum(pairs) / len(pairs) / 2
        assert rewards[row].mean().item() == pytest.approx(-score, rel=1e-5)
        whole = rewards_without(predicted[row], reference[row], None)
        for member in range(size):
            baseline = rewards_without(predicted[row], reference[row], member)
            credit = whole[member] - sum(baseline.values()) / (size - 1)
            assert (rewards[row, member] + score).item() == pytest.approx(credit, abs=1e-4)


def test_what_the_trainer_subtracts_leaves_the_credit_as_it_is() -> None:
    predicted, reference = groups()
    rewards = EnergyScoreReward().score_groups(predicted, reference).rewards.flatten()
    errors = (predicted - reference[:, None]).flatten(2).norm(dim=2)
    distances = (predicted[:, :, None] - predicted[:, None]).flatten(3).norm(dim=3)
    expected = energy_credit(errors, distances).flatten()
    torch.testing.assert_close(group_advantages(rewards, 5, scale="none"), expected, atol=1e-5, rtol=1e-4)


def test_a_prediction_alone_is_measured_by_its_distance() -> None:
    predicted, reference = groups(size=1)
    reward = EnergyScoreReward()
    expected = (predicted[:, 0] - reference).flatten(1).norm(dim=1)
    torch.testing.assert_close(reward.metric(predicted[:, 0], reference), expected)
    torch.testing.assert_close(reward.metric_of_groups(predicted, reference)[:, 0], expected)
    pair, recorded = groups(size=2)
    apart = (pair[:, 0] - pair[:, 1]).flatten(1).norm(dim=1)
    errors = (pair - recorded[:, None]).flatten(2).norm(dim=2)
    torch.testing.assert_close(
        reward.metric_of_groups(pair, recorded), (errors.mean(dim=1) - apart / 2)[:, None].expand(-1, 2)
    )


@pytest.mark.parametrize("size", [1, 2])
def test_groups_without_a_credit_are_refused(size: int) -> None:
    predicted, reference = groups(size=size)
    with pytest.raises(
        ValueError, match=rf"`energy_score`: .* of at least 3 completions.* got {size}; raise `num_gen"
    ):
        EnergyScoreReward().score_groups(predicted, reference)
    with pytest.raises(ValueError, match=r"all of one size of at least 3.* raise `num_generations`"):
        EnergyScoreReward()(predicted=list(predicted[0]), reference=[reference[0]] * size)


def test_a_call_takes_the_completions_of_one_prompt_whose_references_are_equal_or_the_same() -> None:
    predicted, reference = groups(rows=1)
    expected = EnergyScoreReward().score_groups(predicted, reference).rewards[0].tolist()
    same = EnergyScoreReward()(["..."] * 5, predicted=list(predicted[0]), reference=[reference[0]] * 5)
    equal = EnergyScoreReward()(predicted=list(predicted[0]), reference=[reference[0].clone() for _ in range(5)])
    arrays = EnergyScoreReward()(predicted=predicted[0], reference=reference.expand(5, -1, -1, -1, -1))
    assert same == equal == arrays == pytest.approx(expected)


def test_unreadable_predictions_get_the_floor_and_are_left_out_of_the_others_credit() -> None:
    predicted, reference = groups(rows=2, size=4)
    logged = EnergyScoreReward().score_groups([[None, *predicted[0, 1:]], [None, None, *predicted[1, 2:]]], reference)
    floor = -4 / 3 * (2 * 3 * 8 * 8) ** 0.5
    assert logged.rewards[0, 0].item() == pytest.approx(floor) and logged.metrics["parse_failure"] == 3 / 8
    whole = EnergyScoreReward().score_groups(predicted[:1, 1:], reference[:1]).rewards
    torch.testing.assert_close(logged.rewards[:1, 1:], whole)
    assert logged.rewards[1, 2] == logged.rewards[1, 3], "two say nothing of each other without a third"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
def test_no_credit_falls_below_four_thirds_of_the_own_error(size: int) -> None:
    """Of points that may be anywhere; of corners, where distances are as far from each other as they can be."""
    generator = torch.Generator().manual_seed(0)
    points = [
        torch.randn(4000, size + 1, dims, generator=generator)
        * torch.rand(4000, size + 1, 1, generator=generator) ** 4
        for dims in (1, 2, 5)
    ]
    points.append(torch.randint(2, (4000, size + 1, 1), generator=generator).float())
    for drawn in points:
        errors, distances = (torch.cdist(drawn[:, 1:], drawn[:, place]) for place in (slice(1), slice(1, None)))
        rewards = energy_credit(errors[..., 0], distances) - energy_score(errors[..., 0], distances)[:, None]
        bound = (size + 1) / size if size >= 3 else 1.0
        assert (rewards + bound * errors[..., 0]).min() > -1e-4
    if size <= 3:
        assert rewards.min().item() == pytest.approx(-bound, abs=1e-5), "corners reach it"


@pytest.mark.filterwarnings("ignore:`distance='absolute'`")
@pytest.mark.parametrize("settings", [{}, {"scale": 100.0}, {"scale": 0.01}, {"distance": "absolute"}], ids=str)
def test_no_readable_answer_earns_less_than_an_unreadable_one(settings: dict[str, Any]) -> None:
    reward = EnergyScoreReward(**settings)
    black, white = torch.zeros(7, 3, 256, 320), torch.ones(7, 3, 256, 320)
    columns = {"predicted": [black, black, white, None], "reference": [white] * 4}
    called = reward(**columns)
    scores = reward.score_groups([columns["predicted"]], white[None])
    for *readable, unreadable in (called, scores.rewards[0].tolist(), scores.steps[0].mean(dim=1).tolist()):
        assert unreadable <= min(readable) < 0
        assert unreadable == pytest.approx(min(readable), rel=1e-4), "this is the worst that can be read"
    longer = torch.tensor([True] * 4 + [False] * 3)
    masked = reward.score_groups([[black, black, white, None]], white[None], reference_mask=longer[None])
    short = reward.score_groups([[black[:4], black[:4], white[:4], None]], white[None, :4])
    torch.testing.assert_close(masked.rewards, short.rewards)


@pytest.mark.parametrize("scale", [1.0, [1.0, 100.0]], ids=str)
def test_sensors_beyond_their_ranges_earn_no_less_than_an_unreadable_answer(scale: Any) -> None:
    reward = EnergyScoreReward(scale=scale)
    near, far, recorded = torch.zeros(1, 2), torch.tensor([[3.0, 400.0]]), torch.zeros(1, 2)
    rewards = reward(predicted=[near, far, far, None], reference=[recorded] * 4)
    assert rewards[3] == min(rewards[:3]) < -FLOOR * 2**0.5, "the worst that was read"
    alone = reward(predicted=[near, near, near, None], reference=[recorded] * 4)
    assert alone == pytest.approx([0, 0, 0, -FLOOR * 2**0.5]), "the ranges, if nothing is beyond them"


@pytest.mark.filterwarnings("ignore:`distance='absolute'`")
@pytest.mark.parametrize("distance", ["euclidean", "absolute"])
def test_padding_is_no_part_of_an_answer(distance: str) -> None:
    predicted, reference = groups(size=4)
    reward, mask = EnergyScoreReward(distance=distance), torch.tensor([[True, False]] * 3)
    masked = reward.score_groups(predicted, reference, reference_mask=mask)
    short = reward.score_groups(predicted[:, :, :1], reference[:, :1])
    torch.testing.assert_close(masked.rewards, short.rewards)
    alone = reward.metric(predicted[:, 0], reference, reference_mask=mask)
    torch.testing.assert_close(alone, reward.metric(predicted[:, 0, :1], reference[:, :1]))
    assert reward.score_groups(predicted, reference, reference_mask=~mask & mask).rewards.isnan().all()


def test_sensors_are_scaled_each_in_its_unit() -> None:
    predicted, reference = torch.tensor([[[[0.0, 0.0]], [[3.0, 0.0]], [[0.0, 400.0]]]]), torch.zeros(1, 1, 2)
    scaled = EnergyScoreReward(scale=[1.0, 100.0]).score_groups(predicted, reference).rewards
    by_hand = EnergyScoreReward().score_groups(predicted / torch.tensor([1.0, 100.0]), reference).rewards
    torch.testing.assert_close(scaled, by_hand)
    torch.testing.assert_close(
        EnergyScoreReward(scale=10).score_groups(predicted, reference).rewards,
        EnergyScoreReward().score_groups(predicted, reference).rewards / 10,
        atol=1e-3,  # of distances of 40
        rtol=1e-5,
    )
    with pytest.raises(ValueError, match="a scale for each of 2 dimensions, got .1.0. for states"):
        EnergyScoreReward(scale=[1.0]).score_groups(predicted, reference)
    beside = {"predicted": "frames", "reference": "r", "predicted_states": "s", "reference_states": "t"}
    assert EnergyScoreReward().choose_columns(beside)["predicted"] == "frames"
    assert EnergyScoreReward(reads="sensors").choose_columns(beside)["predicted"] == "s"


def test_frames_that_are_none_are_refused_and_sensors_may_have_any_value() -> None:
    with pytest.raises(ValueError, match=r"expected `predicted` frames in \[0, 1\]"):
        EnergyScoreReward().score_groups(torch.full((1, 3, 1, 3, 8, 8), 2.0), torch.zeros(1, 1, 3, 8, 8))
    assert EnergyScoreReward().score_groups(torch.full((1, 3, 1, 2), 9.0), torch.zeros(1, 1, 2)).rewards[0, 0] < -12


def test_settings_out_of_reach_are_refused() -> None:
    for wrong in ({"reads": "frames"}, {"distance": "squared"}, {"scale": 0.0}, {"scale": []}, {"scale": [1.0, -1.0]}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            EnergyScoreReward(**wrong)
    with pytest.warns(UserWarning, match="scores each pixel or sensor by itself"):
        assert EnergyScoreReward(distance="absolute").name == "energy_score_absolute"
    assert EnergyScoreReward(reads="sensors").name == "energy_score_sensors"
    assert EnergyScoreReward(scale=10).name == "energy_score_scale_10"
    assert EnergyScoreReward(reads="sensors", scale=[0.5, 512]).name == "energy_score_sensors_scale_0.5_512"


LAWS = torch.tensor([0.6, 0.7, 0.8])


def learn(credit, *, updates: int = 250, size: int = 8, prompts: int = 128) -> torch.Tensor:
    """Probability of heads that a policy ends with, for coins that show heads as often as `LAWS`."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    known = []
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - update / updates)
        chance = logits.sigmoid()[:, None, None].expand(3, prompts, size)
        drawn = (torch.rand(chance.shape, generator=generator) < chance.detach()).float()
        shown = (torch.rand(3, prompts, generator=generator) < LAWS[:, None]).float()
        answers, truth = (torch.stack([coins, 1 - coins], dim=-1) for coins in (drawn, shown))  # one of two categories
        rewards = credit(answers.flatten(0, 1).unsqueeze(2), truth.flatten(0, 1).unsqueeze(1))
        advantages = group_advantages(rewards.flatten(), size, scale="none").view(3, prompts, size)
        log_probs = torch.where(drawn == 1, chance.log(), (1 - chance).log())
        optimizer.zero_grad()
        (-(advantages * log_probs).mean()).backward()
        optimizer.step()
        known.append(logits.detach().sigmoid())
    return torch.stack(known[-50:]).mean(dim=0)


def test_a_policy_learns_known_laws_where_the_usual_reward_collapses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BATCH_SIZE", 10**6)  # answers are as small as they get
    energy, usual = EnergyScoreReward(), SensorMAEReward()
    found = learn(lambda predicted, reference: energy.score_groups(predicted, reference).rewards)
    assert (found - LAWS).abs().max() < 0.03
    collapsed = learn(lambda predicted, reference: usual.score_groups(predicted, reference).rewards)
    assert collapsed.min() > 0.95


def test_a_plain_mean_as_baseline_learns_another_law() -> None:
    """Why the baseline leaves x_i out: a group's mean shrinks the second term; the law leans to what is likelier."""

    def plain(predicted: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        predicted, reference = predicted.flatten(2), reference.flatten(1)
        errors = (predicted - reference[:, None]).norm(dim=2)
        distances = (predicted[:, :, None] - predicted[:, None]).norm(dim=3)
        return distances.sum(dim=2) / (predicted.shape[1] - 1) - errors

    assert (learn(plain, size=4) - LAWS).max() > 0.05


def test_a_joint_law_scores_better_than_the_product_of_its_marginals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two coordinates that are always equal; exact expectations over all that may happen."""
    monkeypatch.setattr(base, "BATCH_SIZE", 10**6)
    truth = [torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])]
    corners = [torch.tensor([float(x), float(y)]) for x, y in product((0, 1), repeat=2)]

    def expected(law: list[torch.Tensor], p: float) -> float:
        def apart(some: list[torch.Tensor], others: list[torch.Tensor]) -> float:
            return sum((one - other).norm(p=p).item() for one in some for other in others) / len(some) / len(others)

        return apart(law, truth) - apart(law, law) / 2

    assert expected(truth, 2.0) < expected(corners, 2.0) - 0.05
    assert expected(truth, 1.0) == pytest.approx(expected(corners, 1.0)), "a mean of errors cannot tell them apart"
    generator = torch.Generator().manual_seed(0)

    def drawn(law: list[torch.Tensor], count: int) -> torch.Tensor:
        return torch.stack(law)[torch.randint(len(law), (count,), generator=generator)]

    reference = drawn(truth, 2000)[:, None]
    reward = EnergyScoreReward()
    joint, independent = (
        reward.metric_of_groups(drawn(law, 2000 * 8).view(2000, 8, 1, 2), reference).mean() for law in (truth, corners)
    )
    assert joint.item() == pytest.approx(expected(truth, 2.0), abs=0.02)
    assert independent.item() == pytest.approx(expected(corners, 2.0), abs=0.02)


def test_the_score_is_that_of_gneiting_and_raftery_without_bias() -> None:
    """In expectation a group of three scores as a large one: pairs of a prediction with itself are left out."""
    generator = torch.Generator().manual_seed(0)
    scores = []
    for size, rows in ((3, 4000), (40, 300)):
        predicted, reference = (
            torch.randn(rows, size, 2, generator=generator),
            torch.randn(rows, 2, generator=generator),
        )
        errors = (predicted - reference[:, None]).norm(dim=2)
        scores.append(energy_score(errors, torch.cdist(predicted, predicted)).mean().item())
    assert scores[0] == pytest.approx(scores[1], abs=0.05)
