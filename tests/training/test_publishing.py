from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers.trainer_utils import HubStrategy

from rlvr_world_hf.training.publishing import PushAtEachSave, write_card
from tests.training.world import settings, small_policy, small_processor


@pytest.mark.parametrize(
    ("push_to_hub", "strategy", "pushes"),
    [(True, HubStrategy.EVERY_SAVE, True), (True, HubStrategy.END, False), (False, HubStrategy.EVERY_SAVE, False)],
)
def test_a_save_pushes_where_it_is_asked_for_and_transformers_never(
    push_to_hub: bool, strategy: HubStrategy, pushes: bool
) -> None:
    args: Any = SimpleNamespace(push_to_hub=push_to_hub, hub_strategy=strategy)
    said: list[str] = []
    callback = PushAtEachSave(args, lambda commit_message: said.append(commit_message))
    state: Any = SimpleNamespace(global_step=12)
    callback.on_save(args, state, SimpleNamespace())  # type: ignore[arg-type]
    assert said == ["Training in progress, step 12"] * pushes and args.hub_strategy == HubStrategy.END


def test_a_card_tells_settings_and_rewards_and_one_with_results_stays(tmp_path: Path) -> None:
    processor = small_processor()
    said: dict[str, Any] = {"repo_id": "owner/name", "name": None, "dataset": None, "tags": ["mine"], "horizon": 3}
    where = (processor, settings(tmp_path, beta=0.25), small_policy(processor).config)
    write_card(*where, rewards={"mae": 0.5}, **said)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "# name" in text and "beta: 0.25" in text and "reward: mae" in text and "- mine" in text
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "README.md").write_text("measured")
    write_card(*where, rewards={"mae": 0.5}, **said)
    assert (tmp_path / "README.md").read_text() == "measured"
