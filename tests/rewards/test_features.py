from pathlib import Path

import pytest
import torch

from rlvr_world_hf.planning.goal_cost import GoalCost
from rlvr_world_hf.rewards import FeatureDistanceReward
from rlvr_world_hf.runs.named_parts import build_metrics, try_parts
from tests.rewards.test_backbones import resnet as resnet


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 2, 3, 64, 64, generator=generator), torch.rand(2, 2, 3, 64, 64, generator=generator)


def test_it_is_the_mean_over_depths_of_squared_distances_of_unit_vectors(resnet: str, pair) -> None:
    predicted, reference = pair
    reward = FeatureDistanceReward(resnet, batch_size=5)
    found = reward.measure_groups(predicted, reference)
    expected = torch.zeros(2, 3, 2)
    for group in range(2):
        for member in range(3):
            for step in range(2):
                sides = [
                    reward.model(frame[None]) for frame in (predicted[group, member, step], reference[group, step])
                ]
                cosines = [torch.cosine_similarity(x[0], y[0], dim=1) for x, y in zip(*sides, strict=True)]
                expected[group, member, step] = torch.stack([(2 - 2 * cosine).mean() for cosine in cosines]).mean()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert expected.min() > 1e-3
    alone = reward.metric(predicted[:, 0], reference)
    torch.testing.assert_close(alone, found[:, 0].mean(dim=1))


def test_features_of_a_reference_are_computed_once_for_its_group(resnet: str, pair, monkeypatch) -> None:
    reward, seen = FeatureDistanceReward(resnet), []
    forward = reward.model.forward
    monkeypatch.setattr(reward.model, "forward", lambda frames: seen.append(len(frames)) or forward(frames))
    reward.score_groups(*pair)
    assert sum(seen) == 2 * 3 * 2 + 2 * 2


def test_what_looks_more_alike_is_nearer(resnet: str) -> None:
    reference = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    predicted = [(reference + strength * noise).clamp(0, 1) for strength in (0.0, 0.05, 0.2)]
    rewards = FeatureDistanceReward(resnet)(predicted=predicted, reference=[reference] * 3)
    assert rewards[0] == pytest.approx(0, abs=1e-6) and rewards == sorted(rewards, reverse=True)


def test_it_is_a_planner_s_cost_by_the_last_state(resnet: str) -> None:
    goal = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    plans = torch.stack([torch.stack([1 - goal, goal]), torch.stack([goal, 1 - goal])])
    costs = GoalCost(goal, {FeatureDistanceReward(resnet, aggregation="last"): 1.0})(plans)
    assert costs[0] == 0 < costs[1]


def test_each_backbone_has_its_name_and_a_recipe_takes_it(resnet: str, tmp_path: Path) -> None:
    assert FeatureDistanceReward().name == "feature_distance"
    assert FeatureDistanceReward(size=224).name == "feature_distance_size_224"
    assert (
        FeatureDistanceReward("facebook/dinov2-small", aggregation="last").name == "feature_distance_dinov2-small_last"
    )
    entry = {"path": "rlvr_world_hf.rewards.FeatureDistanceReward", "backbone": resnet, "layers": [1, -1]}
    (metric,) = build_metrics([entry], where="evaluate.metrics")
    assert metric.name == "feature_distance_resnet_layers_1_-1" and metric.layers == [1, -1]
    try_parts([metric], kinds=["frames"], where="evaluate.metrics")
    with pytest.raises(FileNotFoundError, match="never downloaded"):
        try_parts([FeatureDistanceReward("owner/name")], kinds=["frames"], where="evaluate.metrics")


def test_numbers_out_of_reach_are_refused() -> None:
    for name in ("size", "batch_size"):
        with pytest.raises(ValueError, match=name):
            FeatureDistanceReward(**{name: 0})


def test_the_embedded_backbone_sees_what_pixels_hardly_do() -> None:
    """A blurred block is nearer in pixels than a moved one, and farther in features."""
    pytest.importorskip("timm", reason="needs the extra perceptual")
    from tests.worlds.pusht.test_pose_rewards import draw

    truth, moved = draw(0.5, 0.5, 30)[None, None], draw(0.53, 0.5, 30)[None, None]
    blurred = torch.nn.functional.avg_pool2d(truth[0], 7, stride=1, padding=3, count_include_pad=False)[None]
    reward = FeatureDistanceReward()
    assert 0 < reward.metric(moved, truth) < reward.metric(blurred, truth)
