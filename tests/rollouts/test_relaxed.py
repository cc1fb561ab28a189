"""Relaxed predictions: the frames are those of an ordinary rollout, the gradient is that of the formula."""

import math

import pytest
import torch

from rlvr_world_hf.processors.base import state_columns
from rlvr_world_hf.rollouts import rollout
from rlvr_world_hf.rollouts.relaxed import CodeHead, Relaxation, gumbel_given, relaxed_rollout, straight_through
from tests.tiny import tiny_joint_processor, tiny_model, tiny_processor


def exponentials(*shape):
    return torch.empty(*shape).exponential_(generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "relaxation", [Relaxation(temperature=0.7, kind="softmax"), Relaxation(gumbel_temperature=0.5)]
)
def test_the_gradient_is_that_of_the_mean_of_codes_at_the_value_of_the_code(relaxation):
    """Against the Jacobian of a softmax written out, at the code's own value."""
    torch.manual_seed(0)
    logits = torch.randn(3, 5, requires_grad=True)
    table, codes, noise = torch.randn(5, 2), torch.tensor([0, 4, 2]), exponentials(3, 5)
    weights = straight_through(logits, codes, relaxation, exponentials=noise)
    assert torch.equal(weights.detach(), torch.nn.functional.one_hot(codes, 5).float())
    (weights @ table).square().sum().backward()
    for row, code in enumerate(codes.tolist()):
        p = (logits[row].detach() / relaxation.temperature).softmax(dim=0)
        q, scale = p, relaxation.temperature
        if relaxation.kind == "gumbel":
            e = noise[row]
            perturbed = torch.tensor(
                [-math.log(e[j] / p[j] + e[code]) if j != code else -math.log(e[code]) for j in range(5)]
            )
            assert perturbed.argmax() == code
            q = (perturbed / relaxation.gumbel_temperature).softmax(dim=0)
            scale = relaxation.temperature * relaxation.gumbel_temperature
        jacobian = (torch.diag(q) - torch.outer(q, q)) / scale
        slope = table @ (2 * table[code])  # of the squared value with respect to each weight
        torch.testing.assert_close(logits.grad[row], jacobian @ slope, rtol=1e-4, atol=1e-6)


def test_a_relaxed_loss_has_the_slope_of_finite_differences():
    """Of the relaxed weights themselves, with the noise held: what straight-through gives back."""
    logits, codes, noise = torch.tensor([[0.3, -0.2, 0.5]]), torch.tensor([1]), exponentials(1, 3)
    table, relaxation = torch.tensor([1.0, -2.0, 0.5]), Relaxation(gumbel_temperature=0.8)
    given = gumbel_given(logits.log_softmax(dim=1), codes, noise)

    def relaxed(x):
        return float((((x.double().log_softmax(dim=1) + given) / 0.8).softmax(dim=1) @ table.double()).sum())

    asked = logits.clone().requires_grad_()
    (straight_through(asked, codes, relaxation, exponentials=noise) @ table).sum().backward()
    steps = 1e-4 * torch.eye(3)
    slopes = [(relaxed(logits + step) - relaxed(logits - step)) / 2e-4 for step in steps]
    torch.testing.assert_close(asked.grad[0], torch.tensor(slopes), rtol=1e-2, atol=1e-4)


def test_noise_that_is_drawn_after_the_code_is_gumbel_noise():
    log_p = torch.tensor([0.1, 0.3, 0.6]).log().expand(40_000, 3)
    torch.manual_seed(0)
    codes = torch.multinomial(log_p[0].exp(), len(log_p), replacement=True)
    noise = gumbel_given(log_p, codes, torch.empty(log_p.shape).exponential_())
    assert torch.equal((log_p + noise).argmax(dim=1), codes)
    assert noise.mean(dim=0).tolist() == pytest.approx([0.5772] * 3, abs=0.03)
    assert noise.var(dim=0).tolist() == pytest.approx([math.pi**2 / 6] * 3, rel=0.05)
    shares = torch.corrcoef(noise.T)
    assert shares[~torch.eye(3, dtype=torch.bool)].abs().max() < 0.02


@pytest.mark.parametrize("make", [tiny_processor, tiny_joint_processor])
def test_its_frames_are_those_of_a_rollout_and_its_slopes_reach_the_policy_alone(make):
    processor = make()
    processor.codec.requires_grad_(False)
    model = tiny_model(processor)
    torch.manual_seed(1)
    columns = {"context": torch.rand(2, 1, 3, 16, 16), "actions": torch.full((2, 4, 2), 256.0)}
    if "context_states" in processor.prompt_columns:
        columns["context_states"] = torch.zeros(2, 1, 3)
    how = {"seeds": [3, 4], "horizon": 3, **columns}
    usual = state_columns(rollout(model, processor, temperature=0.7, **how).predicted)["predicted"]
    frames = relaxed_rollout(model, processor, relaxation=Relaxation(temperature=0.7), **how)
    torch.testing.assert_close(frames.detach(), usual, rtol=0, atol=1e-5)
    again = relaxed_rollout(model, processor, relaxation=Relaxation(temperature=0.7), **how)
    slopes = [torch.autograd.grad(x.square().mean(), model.lm_head.weight)[0] for x in (frames, again)]
    assert torch.equal(*slopes), "noise belongs to the seeds"
    low, high = CodeHead(processor, 3).codes
    assert slopes[0][low:high].abs().max() > 0 and slopes[0][high:].abs().max() == 0
    with torch.no_grad():
        assert not relaxed_rollout(model, processor, relaxation=Relaxation(), **how).requires_grad


def test_the_noise_of_a_row_does_not_depend_on_the_rows_beside_it():
    processor = tiny_processor()
    model = tiny_model(processor)
    context, actions = torch.rand(2, 1, 3, 16, 16), torch.zeros(2, 3, 2)

    def slopes(rows):
        model.zero_grad()
        columns = {"context": context[rows], "actions": actions[rows]}
        seeds = [7 + row for row in rows]
        relaxed_rollout(model, processor, seeds=seeds, horizon=2, relaxation=Relaxation(), **columns).sum().backward()
        return model.lm_head.weight.grad.clone()

    torch.testing.assert_close(slopes([0, 1]), slopes([0]) + slopes([1]), rtol=1e-3, atol=1e-5)


def test_a_codec_that_lets_no_gradient_through_is_named(monkeypatch):
    processor = tiny_processor()
    frames = torch.zeros(1, 2, 3, 16, 16)
    monkeypatch.setattr(type(processor.codec), "decode", lambda self, codes, context_frames: frames)
    columns = {"context": frames[:, :1], "actions": torch.zeros(1, 3, 2)}
    with pytest.raises(TypeError, match="lets gradients through, got CompressiveTokenizer"):
        relaxed_rollout(tiny_model(processor), processor, seeds=[0], horizon=2, relaxation=Relaxation(), **columns)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "soft"}, "among gumbel, softmax, got 'soft'"),
        ({"temperature": 0.0}, "`temperature` from .* got 0: at 0 a code has no gradient"),
        ({"gumbel_temperature": -1.0}, "`gumbel_temperature` from"),
    ],
)
def test_settings_without_a_gradient_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Relaxation(**settings)
