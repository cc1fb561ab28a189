import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr_world_hf.evaluation.metrics import measure
from rlvr_world_hf.evaluation.predictions import Predictions, RowBatch
from rlvr_world_hf.planning.goal_cost import GoalCost
from rlvr_world_hf.rewards import ActionRecoveryReward, MAEReward
from rlvr_world_hf.rewards.base import actions_between
from rlvr_world_hf.runs.named_parts import build_metrics, try_parts
from tests.rewards.test_inverse_dynamics import make


class Bright(torch.nn.Module):
    """Reads an action of one dimension as the brightness of the next frame minus that of the one before."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self, frames: torch.Tensor) -> Any:
        bright = frames.mean(dim=(2, 3, 4))
        return type("Output", (), {"actions": (bright[:, 1] - bright[:, 0])[:, None] * 512})


@pytest.fixture
def reward() -> ActionRecoveryReward:
    model = make(dims=1)
    bright = Bright(model.config)
    reward = ActionRecoveryReward(model)
    reward._model = bright  # type: ignore[assignment]
    return reward


def frames(*levels: float) -> torch.Tensor:
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, 16, 16).clone()


def test_each_step_is_read_from_its_frame_and_the_one_before(reward: ActionRecoveryReward) -> None:
    columns = {
        "predicted": [frames(0.25, 0.5, 1.0)],
        "reference": [frames(0.0, 0.0, 0.0)],
        "context": [frames(0.9, 0.0)],  # the last of the given ones counts
        "actions": [torch.tensor([[128.0], [128.0], [256.0], [-7.0]])],  # the last leads nowhere
    }
    assert reward(**columns) == [0.0]
    columns["actions"] = [torch.tensor([[128.0], [0.0], [0.0], [0.0]])]
    assert reward.score_steps(**columns).tolist() == [[0.0, -128.0, -256.0]]
    as_many = {**columns, "actions": [torch.tensor([[128.0], [0.0], [0.0]])]}
    assert reward.score_steps(**as_many).tolist() == [[0.0, -128.0, -256.0]]
    del columns["context"]
    assert reward.score_steps(**columns).tolist()[0][1:] == [-128.0, -256.0]
    assert reward.score_steps(**columns)[0, 0].isnan(), "without a given frame the first action cannot be read"


def test_a_model_of_two_given_frames_reads_the_change_of_a_change(reward: ActionRecoveryReward) -> None:
    """Steps for which frames are missing are left out: both of them without a context, the first with one frame."""

    class Faster(Bright):
        def forward(self, frames: torch.Tensor) -> Any:
            bright = frames.mean(dim=(2, 3, 4))
            assert bright.shape[1] == 3
            return type("Output", (), {"actions": bright.diff(n=2, dim=1) * 512})

    reward.model.config.given_frames = 2
    reward._model = Faster(reward.model.config)  # type: ignore[assignment]
    columns = {
        "predicted": [frames(0.5, 0.5, 0.75)],
        "reference": [frames(0.0, 0.0, 0.0)],
        "actions": [torch.tensor([[0.0], [-128.0], [128.0]])],
    }
    given = {"context": [frames(0.0, 0.25)]}
    assert reward.score_steps(**columns, **given).tolist() == [[0.0, 0.0, 0.0]]
    columns["actions"] = [torch.tensor([[128.0], [0.0], [0.0]])]
    assert reward.score_steps(**columns, **given).tolist() == [[-128.0, -128.0, -128.0]]
    for lacking, given in ((1, {"context": [frames(0.25)]}), (2, {})):
        steps = reward.score_steps(**columns, **given)[0]
        assert steps[:lacking].isnan().all() and steps[lacking:].tolist() == [-128.0] * (3 - lacking)


def test_the_reference_is_not_read(reward: ActionRecoveryReward) -> None:
    """So actions that nobody recorded can be judged, too."""
    given = {"predicted": [frames(0.5)] * 2, "context": [frames(0.0)] * 2, "actions": [torch.tensor([[256.0]])] * 2}
    assert reward(reference=[frames(0.0), frames(1.0)], **given) == [0.0, 0.0]


def test_actions_of_windows_are_those_from_the_last_given_frame_on() -> None:
    actions = torch.arange(12.0).view(2, 6, 1)
    assert actions_between(actions, 4)[..., 0].tolist() == [[1, 2, 3, 4], [7, 8, 9, 10]]
    assert actions_between(actions, 6)[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"at least one for each of 7 predicted states, got \(2, 6, 1\)"):
        actions_between(actions, 7)


def test_the_table_and_the_trainer_hand_actions_over(reward: ActionRecoveryReward) -> None:
    batch = RowBatch(
        indices=[0],
        context=frames(0.0)[None],
        actions=torch.tensor([[[128.0], [128.0], [0.0]]]),
        reference=frames(0.25, 0.5)[None],
        reference_mask=torch.ones(1, 2, dtype=torch.bool),
    )
    both = torch.stack([frames(0.25, 0.5), frames(0.25, 0.25)])[None]
    readable = torch.tensor([[True, True]])
    values = measure(Predictions(predicted=both, readable=readable), batch, [reward, MAEReward()])
    assert values["action_recovery_error"].tolist() == [[0.0, 64.0]]
    lost = measure(Predictions(predicted=both, readable=torch.tensor([[True, False]])), batch, [reward])
    assert lost["action_recovery_error"].tolist() == [[0.0, 512.0]], "the floor is the range of the actions"
    scores = reward.score_groups(
        [[both[0, 0], both[0, 1], None]], [frames(0.25, 0.5)], context=batch.context, actions=batch.actions
    )
    assert scores.rewards.tolist() == [[0.0, -64.0, -512.0]]


def test_it_is_a_planner_s_cost(reward: ActionRecoveryReward) -> None:
    cost = GoalCost(frames(1.0)[0], {reward: 1.0}, context=frames(0.0))
    assert cost.needs_actions and not GoalCost(frames(1.0)[0], {MAEReward(): 1.0}).needs_actions
    plans, actions = torch.stack([frames(0.5, 1.0), frames(0.5, 0.5)]), torch.full((2, 2, 1), 256.0)
    assert cost(plans, actions=actions).tolist() == [0.0, 128.0]
    with pytest.raises(ValueError, match="expected `actions` of shape"):
        cost(plans)


def test_a_binned_action_has_a_log_probability() -> None:
    model = make(bins=4, dims=1)
    reward = ActionRecoveryReward(model, score="log_probability", label="judge")
    assert reward.name == "action_log_probability_judge" and reward.higher_is_better and reward.floor == -20
    columns = {
        "predicted": [frames(0.5, 0.75)],
        "reference": [frames(0.5, 0.75)],
        "context": [frames(0.0)],
        "actions": [torch.tensor([[100.0], [300.0]])],
    }
    pairs = torch.stack([frames(0.0, 0.5), frames(0.5, 0.75)])
    with torch.no_grad():
        expected = model.log_probs(pairs, torch.tensor([[100.0], [300.0]]))
    torch.testing.assert_close(reward.score_steps(**columns)[0], expected)


def test_bad_input_is_refused_with_what_to_do(reward: ActionRecoveryReward, tmp_path: Path) -> None:
    columns: dict[str, Any] = {"predicted": [frames(0.5)], "reference": [frames(0.5)], "context": [frames(0.0)]}
    with pytest.raises(ValueError, match="expected the column `actions`.* add it, or leave the reward out"):
        reward(**columns)
    with pytest.raises(ValueError, match=r"actions of 1 dimensions.* got 3; train one on such actions"):
        reward(**columns, actions=[torch.zeros(1, 3)])
    with pytest.raises(ValueError, match=r"about from \[0.0\] to \[512.0\].* got values from 5000 .* the same law"):
        reward(**columns, actions=[torch.full((1, 1), 5000.0)])
    own = ActionRecoveryReward(make(dims=1))
    large = {name: [torch.zeros(1, 3, 32, 32)] for name in columns}
    with pytest.raises(ValueError, match=r"\(B, 2, 3, 16, 16\), got .*32, 32\); use an inverse model"):
        own(**large, actions=[torch.zeros(1, 1)])
    with pytest.raises(ValueError, match="score"):
        ActionRecoveryReward(make(), score="likelihood")
    with pytest.raises(ValueError, match="batch_size"):
        ActionRecoveryReward(make(), batch_size=0)
    for missing in (tmp_path, tmp_path / "none", "outputs/none"):  # the last might be a Hub id
        with pytest.raises(FileNotFoundError, match="`rlvr-world inverse RECIPE` trains one"):
            ActionRecoveryReward(missing).check_files()


def test_a_recipe_names_it_by_a_folder_and_a_pickle_holds_no_weights(tmp_path: Path) -> None:
    make(dims=1).save_pretrained(tmp_path / "inverse")
    entry = {"path": "rlvr_world_hf.rewards.ActionRecoveryReward", "model": str(tmp_path)}
    (metric,) = build_metrics([entry], where="evaluate.metrics")
    try_parts([metric], kinds=["frames"], where="evaluate.metrics")
    again = pickle.loads(pickle.dumps(metric))
    assert len(pickle.dumps(metric)) < 2000
    columns = {
        "predicted": [frames(0.5, 0.75)],
        "reference": [frames(0.5, 0.75)],
        "context": [frames(0.0)],
        "actions": [torch.tensor([[100.0], [300.0]])],
    }
    assert again(**columns) == metric(**columns)
    with pytest.raises(FileNotFoundError, match="got a folder without one"):
        try_parts([ActionRecoveryReward(Path(__file__).parent)], kinds=["frames"], where="evaluate.metrics")
