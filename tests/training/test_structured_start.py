from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from rlvr_world_hf.training.pretraining import LikelihoodConfig, build_policy, pretrain, tokenize_rows
from rlvr_world_hf.training.structured_start import structure_embeddings
from tests.training.world import (
    joint_processor,
    sensor_processor,
    single_step_processor,
    small_policy,
    small_processor,
    small_rows,
)


@pytest.mark.parametrize("make", [small_processor, single_step_processor, sensor_processor, joint_processor])
def test_all_but_special_ids_begin_anew_and_keep_their_size(make: Any) -> None:
    processor = make()
    fresh, model = small_policy(processor), small_policy(processor)
    structure_embeddings(model, processor)
    for part in ("get_input_embeddings", "get_output_embeddings"):
        before, after = (getattr(policy, part)().weight.detach() for policy in (fresh, model))
        special = processor.layout.bos_id
        assert torch.equal(before[special:], after[special:])
        assert (before[:special] != after[:special]).any(dim=1).all() and after.isfinite().all()
        assert after[:special].std().item() == pytest.approx(0.02, rel=0.25)
    again = small_policy(processor)
    structure_embeddings(again, processor)
    assert torch.equal(again.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_alike_codes_and_neighbouring_bins_are_alike() -> None:
    processor = small_processor()
    model = build_policy(
        processor.layout, hidden_size=256, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    structure_embeddings(model, processor)
    vectors = normalize(model.get_input_embeddings().weight.detach())
    start, bins = processor.layout.action_offset, processor.layout.action_bins
    likeness = vectors[start : start + bins] @ vectors[start : start + bins].T
    assert likeness[0, 1] > likeness[0, bins - 1]
    # Codes of 3 x 2 levels: 0 and 1 differ by a step of the first channel, 0 and 2 by two.
    points = processor.codec.dynamics_quantizer.indices_to_values(torch.arange(6))
    near = (points[:, None] - points[None]).norm(dim=-1)
    alike = vectors[:6] @ vectors[:6].T
    apart = ~torch.eye(6, dtype=torch.bool)
    assert torch.corrcoef(torch.stack([near[apart], alike[apart]]))[0, 1] < -0.3


def test_tied_embeddings_stay_tied_and_it_is_trained(tmp_path: Any) -> None:
    processor = small_processor()
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = build_policy(processor.layout, **sizes, tie_word_embeddings=True)
    structure_embeddings(model, processor)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    tokens = tokenize_rows(small_rows(processor), processor)
    args = LikelihoodConfig(max_steps=8, eval_steps=4, batch_size=8, warmup_steps=0, learning_rate=1e-2)
    history = pretrain(model, tokens, tokens, output_dir=tmp_path, args=args).history
    losses = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    assert losses[1] < losses[0]
