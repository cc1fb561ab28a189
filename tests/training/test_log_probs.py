"""Every way to log-probabilities comes to those of the model's own logits."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from rlvr_world_hf.rollouts.head import RangeHead, accept_range_head
from rlvr_world_hf.rollouts.shared_prompt import share_prompts
from rlvr_world_hf.training.log_probs import completion_log_probs
from tests.training.world import HORIZON, small_policy, small_processor


TEMPERATURE = 0.7


@pytest.mark.parametrize("batch_size", [None, 4, 3])
@pytest.mark.parametrize(("restricted", "shared"), [(True, True), (True, False), (False, True)])
def test_log_probs_are_those_of_the_logits(restricted: bool, shared: bool, batch_size: int | None) -> None:
    processor = small_processor()
    model = small_policy(processor)
    plain = small_policy(processor)
    add_fused_lm_head(model, temperature=TEMPERATURE, outputs=("log_probs", "entropy"))
    accept_range_head(model)
    assert share_prompts(model) is None
    ranges, mask = processor.token_ranges(HORIZON), processor.model_token_mask(HORIZON)
    length, prompt = len(mask), processor.layout.prompt_length
    draw = torch.Generator().manual_seed(0)
    prompts = torch.randint(0, 6, (2, prompt), generator=draw).repeat_interleave(4, dim=0)
    spread = torch.rand(8, length, generator=draw)
    completions = (ranges[:, 0] + spread * (ranges[:, 1] - ranges[:, 0])).long()
    ids = torch.cat([prompts, completions], dim=1)

    head = RangeHead(ranges, mask, temperature=TEMPERATURE) if restricted else None
    how: dict[str, Any] = {"batch_size": batch_size, "head": head, "shares_prompts": shared}
    with torch.no_grad():
        found, entropies = completion_log_probs(
            model, ids, torch.ones_like(ids), length, compute_entropy=True, autocast=nullcontext, **how
        )
        logits = plain(ids).logits[:, prompt - 1 : -1] / TEMPERATURE
    if restricted:
        allowed = torch.zeros(length, logits.shape[-1], dtype=torch.bool)
        for position, (low, high) in enumerate(ranges.tolist()):
            allowed[position, low:high] = True
        logits = logits.masked_fill(~allowed, -torch.inf)
    every = logits.log_softmax(-1)
    expected = every.gather(-1, completions[..., None])[..., 0]
    entropy = -(every.exp() * every.where(every.isfinite(), 0.0)).sum(-1)
    if restricted:  # what the world writes has no probability
        expected, entropy = expected * mask, entropy * mask
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropies, entropy, atol=1e-5, rtol=1e-5)
