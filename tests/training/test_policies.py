from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlvr_world_hf.hub.checkpoint import choose_attention, load_world_model, save_world_model
from rlvr_world_hf.training.policies import nothing_loaded_beside, prepare_policies, reference_of
from tests.training.world import parameters, settings, small_policy, small_processor, small_rows, small_trainer


def trainer_on(device: str, policy: Any, *, share_prompts: bool = True) -> Any:
    """What `prepare_policies` reads of a trainer whose accelerator is on some device."""
    accelerator = SimpleNamespace(device=torch.device(device), unwrap_model=lambda model: model)
    args = SimpleNamespace(share_prompts=share_prompts, use_transformers_continuous_batching=False)
    return SimpleNamespace(accelerator=accelerator, model=policy, ref_model=None, args=args, aux_loss_enabled=False)


def test_a_model_loaded_on_the_cpu_gets_its_attention_back_elsewhere_and_its_codec_goes_there(tmp_path: Path) -> None:
    processor = small_processor()
    save_world_model(tmp_path / "world", small_policy(processor), processor)
    model, loaded = load_world_model(tmp_path / "world")
    assert model.config._attn_implementation == "eager" and loaded.device.type == "cpu"
    assert prepare_policies(trainer_on("meta", model), loaded)
    assert model.config._attn_implementation == "sdpa_with_shared_prompts"
    assert loaded.device.type == loaded.codec.device.type == "meta"
    for _ in range(2):  # and back again
        assert choose_attention(model, torch.device("cpu")).config._attn_implementation == "eager"
    assert choose_attention(model, torch.device("meta")).config._attn_implementation == "sdpa"


def test_on_a_cpu_attention_stays_as_it_was_chosen(tmp_path: Path) -> None:
    processor = small_processor()
    model = small_policy(processor)
    assert prepare_policies(trainer_on("cpu", model), processor)
    assert model.config._attn_implementation == "sdpa_with_shared_prompts"
    assert not prepare_policies(trainer_on("cpu", model, share_prompts=False), processor)


def test_settings_are_as_before_when_no_reference_was_loaded(tmp_path: Path) -> None:
    args = settings(tmp_path, beta=0.1, sync_ref_model=True)
    with pytest.raises(KeyError), nothing_loaded_beside(small_policy(small_processor()), args):
        assert (args.beta, args.sync_ref_model) == (0.0, False)
        raise KeyError
    assert (args.beta, args.sync_ref_model) == (0.1, True)
    with nothing_loaded_beside(None, args):
        assert (args.beta, args.sync_ref_model) == (0.1, True)


def test_a_reference_is_frozen_and_its_own(tmp_path: Path) -> None:
    model = small_policy(small_processor())
    assert reference_of(model, settings(tmp_path, beta=0.0)) is None
    assert reference_of("folder", settings(tmp_path)) is None
    reference = reference_of(model.train(), settings(tmp_path))
    assert reference is not None
    assert torch.equal(parameters(reference), parameters(model)) and not reference.training
    with torch.no_grad():
        model.lm_head.weight += 1
    assert not torch.equal(parameters(reference), parameters(model))
    assert not any(parameter.requires_grad for parameter in reference.parameters())


@pytest.mark.parametrize("cast", [False, True])
def test_the_reference_in_memory_is_as_one_that_the_host_loads(tmp_path: Path, cast: bool) -> None:
    processor = small_processor()
    policy = small_policy(processor)
    policy.save_pretrained(tmp_path / "start")
    how = {"max_steps": 1, "save_strategy": "no", "restrict_log_probs": False, "cast_lm_head_to_fp32": cast}
    found = []
    for name, model in (("memory", policy), ("disk", str(tmp_path / "start"))):
        trainer = small_trainer(tmp_path / name, model=model, processor=processor, **how)
        row = small_rows(processor, count=1)[0]
        ids = processor(**{key: torch.as_tensor(row[key])[None] for key in ("context", "actions", "reference")})
        ids = ids["input_ids"].repeat(2, 1)
        given = (trainer.ref_model, ids, torch.ones_like(ids), 4)
        with torch.no_grad():
            found.append(trainer._get_per_token_logps_and_entropies(*given)[0])
        assert trainer.beta == trainer.args.beta > 0 and not trainer.ref_model.training
    assert torch.equal(*found)


def test_the_reference_follows_the_policy_where_it_is_asked_to(tmp_path: Path) -> None:
    how = {"sync_ref_model": True, "ref_model_sync_steps": 1, "ref_model_mixup_alpha": 1.0}
    trainer = small_trainer(tmp_path, max_steps=2, save_strategy="no", **how)
    start = parameters(trainer.ref_model).clone()
    trainer.train()
    assert not torch.equal(parameters(trainer.ref_model), start)
    assert torch.equal(parameters(trainer.ref_model), parameters(trainer.model))
