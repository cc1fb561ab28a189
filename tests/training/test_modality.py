"""What processes sample of parts of a group is what one samples of it whole."""

from typing import Any

import pytest
import torch

from rlvr_world_hf import LanguageWorldModelProcessor
from rlvr_world_hf.training.grouped_rows import GroupedRows
from rlvr_world_hf.training.modality import StepBlockModality, TextModality, complete
from tests.tiny import text_tokenizer, tiny_language_model
from tests.training.world import HORIZON, small_policy, small_processor, small_rows


G = 4


def parts_of(inputs: list[dict[str, Any]], processes: int) -> list[GroupedRows]:
    share = len(inputs) // processes
    parts = [inputs[process * share : (process + 1) * share] for process in range(processes)]
    return [GroupedRows.of(part, group_size=G, process=process) for process, part in enumerate(parts)]


def sample_all(modality: Any, model: Any, inputs: list[dict[str, Any]], processes: int) -> list[list[int]]:
    ids: list[list[int]] = []
    for groups in parts_of(inputs, processes):
        prompts = [row["prompt"] for row in modality.inputs(groups)]
        how = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "autocast_dtype": None}
        ids += modality.sample(model, groups, prompts, seeds=groups.seeds(3, 0), **how)[0]["completion_ids"]
    return ids


@pytest.mark.parametrize("processes", [2, 4, 6])
def test_frames_are_drawn_alike_where_a_group_is_cut(processes: int) -> None:
    processor = small_processor()
    modality = StepBlockModality(processor, horizon=HORIZON, temperature=1.0, autocast=torch.no_grad, restricted=True)
    rows = small_rows(processor, count=3)
    inputs = [rows[row] for row in range(3) for _ in range(G)]
    alone = sample_all(modality, small_policy(processor), inputs, 1)
    assert sample_all(modality, small_policy(processor), inputs, processes) == alone
    assert len({*map(tuple, alone)}) > G


@pytest.mark.parametrize("processes", [2, 4, 6])
def test_answers_are_drawn_alike_where_a_group_is_cut(processes: int) -> None:
    processor = LanguageWorldModelProcessor(text_tokenizer())
    model = tiny_language_model(processor.tokenizer)
    ends = [processor.tokenizer.eos_token_id]
    modality = TextModality(processor.encode_prompt, processor.find_answer, max_new_tokens=6, end_ids=ends)
    inputs = [{"prompt": prompt} for prompt in ("a", "bc", "cab") for _ in range(G)]
    alone = sample_all(modality, model, inputs, 1)
    assert sample_all(modality, model, inputs, processes) == alone
    assert len({*map(tuple, alone)}) > G


def test_text_has_no_steps() -> None:
    modality = TextModality(list, str, max_new_tokens=1, end_ids=[0])
    with pytest.raises(NotImplementedError, match="reward_to_go"):
        modality.per_token(torch.zeros(1, 1))
    with pytest.raises(NotImplementedError, match="likelihood_weight"):
        modality.recorded(GroupedRows.of([{}], group_size=1, process=0))


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"Expected `train_dataset`, got None; make one with `window_rows`"):
        complete(small_processor(), None)
    with pytest.raises(TypeError, match="must be a `WorldModelProcessor`, got NoneType; load it with"):
        complete(None, [])
