"""
Policy and reference policy, made ready for a trainer.

The reference of a model in memory is a copy of it, where TRL would load the weights on disk again.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel
from transformers.utils import logging
from trl import GRPOConfig
from trl.models import prepare_deepspeed, prepare_fsdp, unwrap_model_for_generation
from trl.trainer.callbacks import SyncRefModelCallback
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from ..hub.checkpoint import choose_attention
from ..processors.base import WorldModelProcessor
from ..rollouts.decoder import compiled
from ..rollouts.head import accept_range_head
from ..rollouts.shared_prompt import share_prompts


logger = logging.get_logger(__name__)


def reference_of(model: Any, args: GRPOConfig) -> PreTrainedModel | None:
    """
    A frozen copy of a policy in memory, to be made before a trainer has changed it.

    `None` where the loss has no use for one, or TRL has one itself: loaded by name, or the model without its adapter.
    """
    if args.beta == 0.0 or not isinstance(model, PreTrainedModel):
        return None
    return copy.deepcopy(model).requires_grad_(False).eval()


@contextmanager
def nothing_loaded_beside(reference: PreTrainedModel | None, args: GRPOConfig) -> Iterator[None]:
    """Context in which TRL's constructor loads no reference policy if there is one; then `args` are as before."""
    beta, sync = args.beta, args.sync_ref_model
    if reference is not None:
        args.beta, args.sync_ref_model = 0.0, False
    try:
        yield
    finally:
        args.beta, args.sync_ref_model = beta, sync


def attach_reference(trainer: Any, reference: PreTrainedModel | None) -> None:
    """Give a trainer a reference, prepared as TRL prepares one that it has loaded; without one nothing changes."""
    if reference is None:
        return
    args = trainer.args
    trainer.beta = args.beta
    if args.disable_dropout:
        disable_dropout_in_model(reference)
    if args.cast_lm_head_to_fp32:  # one of its own, where it is tied to embeddings that stay as they are
        reference.set_output_embeddings(copy.deepcopy(reference.get_output_embeddings()).float())
    head = {"temperature": trainer.temperature, "cast_lm_head_to_fp32": args.cast_lm_head_to_fp32}
    add_fused_lm_head(reference, **head)
    if trainer.is_deepspeed_enabled:
        reference = prepare_deepspeed(reference, trainer.accelerator)
    elif trainer.is_fsdp_enabled:
        reference = prepare_fsdp(reference, trainer.accelerator)
    else:
        reference = trainer.accelerator.prepare_model(reference, evaluation_mode=True)
    trainer.ref_model = reference
    if args.sync_ref_model:
        trainer.add_callback(SyncRefModelCallback(ref_model=reference, accelerator=trainer.accelerator))


def prepare_policies(trainer: Any, processor: WorldModelProcessor) -> bool:
    """
    Attention, head and codec for what a trainer does, where it does it.

    Returns whether a prompt is computed once for its completions; if it was asked for and is not, a warning says why.
    """
    device = trainer.accelerator.device
    processor.to(device)
    policies = [trainer.accelerator.unwrap_model(policy) for policy in (trainer.model, trainer.ref_model) if policy]
    for policy in policies:
        if device.type != "cpu":  # there the caller's choice stays
            choose_attention(policy, device)
        if processor.fixed_length:
            accept_range_head(policy)
    if not trainer.args.share_prompts:
        return False
    reasons = []
    if trainer.args.use_transformers_continuous_batching:
        reasons.append("continuous batching knows attention by its usual names only")
    if trainer.aux_loss_enabled:
        reasons.append("a mixture of experts balances its load by all tokens of a batch")
    if not reasons:
        reasons = [reason for policy in policies if (reason := share_prompts(policy))]
    if reasons:
        logger.warning(f"A prompt is computed for each of its completions: {reasons[0]}.")
    return not reasons


@contextmanager
def policy_to_sample_from(trainer: Any) -> Iterator[PreTrainedModel | PeftModel]:
    """Context with a trainer's policy out of its wrappers for several devices, whole where it is sharded."""
    with (
        unwrap_model_for_generation(
            trainer.model_wrapped,
            trainer.accelerator,
            gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
            gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
        ) as model,
        trainer._dist.summon_full_params(trainer.model_wrapped, recurse=False),
        compiled(trainer.args.compile_sampling),
    ):
        yield model
