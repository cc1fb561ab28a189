import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize
from transformers import TrainerCallback

from rlvr_world_hf.training.pretraining import LikelihoodConfig, build_policy, pretrain, tokenize_rows
from rlvr_world_hf.training.structured_embeddings import (
    FEATURES_NORM,
    _features_of_ids,
    share_learning,
    structure_embeddings,
)
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


def test_what_is_shared_learns_like_a_sum_that_is_kept_apart() -> None:
    """Of a table and its coefficients, trained by hand as two parameters; the model only ever holds their sum."""
    processor = sensor_processor()
    model = small_policy(processor)
    ids = torch.arange(processor.layout.vocabulary_size)[None]
    table = model.get_input_embeddings().weight
    rest = torch.nn.Parameter(table.detach().clone())
    found = [(start, FEATURES_NORM * normalize(features)) for start, features in _features_of_ids(processor)]
    apart = [torch.nn.Parameter(torch.zeros(features.shape[1], table.shape[1])) for _, features in found]

    def whole() -> torch.Tensor:
        vectors = rest
        for (start, features), coefficients in zip(found, apart, strict=True):
            rows = torch.zeros_like(rest)
            rows[start : start + len(features)] = features @ coefficients
            vectors = vectors + rows
        return vectors

    optimizer = torch.optim.AdamW([table], lr=1e-2, weight_decay=0)
    share_learning(model, processor)(optimizer)
    by_hand = torch.optim.AdamW([rest, *apart], lr=1e-2, weight_decay=0)
    target = torch.randn(ids.shape[1], table.shape[1], generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        for stepped, vectors in ((optimizer, table), (by_hand, whole())):
            stepped.zero_grad()
            (vectors - target).square().mean().backward()
            stepped.step()
    assert torch.allclose(table, whole(), atol=1e-5)
    special = processor.layout.bos_id
    assert torch.equal(table[special:], rest[special:]), "special ids mean nothing that could be shared"


def test_an_update_of_one_code_moves_those_alike_most() -> None:
    processor = small_processor()
    model = small_policy(processor)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    share_learning(model, processor)(optimizer)
    head = model.get_output_embeddings().weight
    before = head.detach().clone()
    head[0].sum().backward()
    optimizer.step()
    moved = (before - head).detach().sum(dim=1)[: processor.layout.dynamics_codebook_size]  # codes of 3 x 2 levels
    assert moved[0] == moved.max() and moved[1] > moved[2] and moved[3] > moved[4], moved
    assert not (before - head)[processor.layout.dynamics_codebook_size :].any()


def test_a_build_of_torch_that_knows_of_no_other_processes_shares_too(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = small_processor()
    model = small_policy(processor)
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "torch.distributed.tensor", None)
    optimizer = torch.optim.AdamW(model.parameters())
    share_learning(model, processor)(optimizer)
    assert len(optimizer.param_groups) > 1


def test_shared_learning_resumes_to_the_same_parameters(tmp_path: Path) -> None:
    processor = small_processor()
    tokens = tokenize_rows(small_rows(processor), processor)

    class Kill(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 6:
                raise KeyboardInterrupt

    def train(seed: int, folder: str, callbacks: Any = ()) -> torch.Tensor:
        model = small_policy(processor, seed=seed)
        args = LikelihoodConfig(max_steps=8, eval_steps=4, batch_size=8, warmup_steps=0, learning_rate=1e-2)
        share = share_learning(model, processor)
        pretrain(model, tokens, tokens, output_dir=tmp_path / folder, args=args, prepare_optimizer=share,
                 callbacks=callbacks)  # fmt: skip
        return torch.nn.utils.parameters_to_vector(model.parameters())

    whole = train(0, "whole")
    with pytest.raises(KeyboardInterrupt):
        train(0, "killed", [Kill()])
    assert torch.equal(train(5, "killed"), whole)
    plain = small_policy(processor)
    args = LikelihoodConfig(max_steps=8, eval_steps=4, batch_size=8, warmup_steps=0, learning_rate=1e-2)
    pretrain(plain, tokens, tokens, output_dir=tmp_path / "plain", args=args)
    assert not torch.equal(torch.nn.utils.parameters_to_vector(plain.parameters()), whole)
    assert all(math.isfinite(value) for value in whole.tolist())
