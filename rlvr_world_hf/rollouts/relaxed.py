r"""
Predictions that gradients flow back through: the codes are sampled as in any rollout, and stand for the weights that
they were drawn by (straight-through).

    w  = onehot(k) + q - stopgradient(q)               k drawn from p = softmax(l / T)
    q  = softmax((l / T + g) / t)                      "gumbel": noise g, given that the largest of l / T + g is at k
    q  = p                                             "softmax": p itself, in the place of noise

with l the logits of a code. The frames are those of the codes k, exactly; their gradient is that of the mean of all
codes under q. Straight-through (Bengio et al. 2013, https://huggingface.co/papers/1308.3432), Gumbel-softmax (Jang et
al. 2017, https://huggingface.co/papers/1611.01144) and its noise, drawn after the code (Paulus et al. 2021,
https://huggingface.co/papers/2010.04838).

The gradient is biased, in two ways. The straight-through step itself is one: a code is no mean of codes. The other
comes of the answer being one sequence: the codes are drawn one after the other by the usual engine, and a single pass
over what was drawn gives the logits of all. So a code has the gradient of the frames that it is decoded into, and none
of the later codes that were drawn because of it. States beside frames (sensors) are drawn too, and get no gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from transformers import PreTrainedModel

from ..processors.video import VideoWorldModelProcessor
from .head import OutputHead, accept_range_head
from .sampling import TEMPERATURES, rollout
from .text import seed_of


RELAXATIONS = ("gumbel", "softmax")
"""What a code is a one-hot of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """
    How codes are drawn and relaxed.

    Example:

    ```python
    >>> Relaxation(temperature=0.7).kind
    'gumbel'

    ```
    """

    temperature: float = 1.0
    """Divides the logits, in sampling and in the gradient; above 0."""

    kind: str = "gumbel"
    """`"gumbel"` or `"softmax"`, see the top of this file."""

    gumbel_temperature: float = 1.0
    """`t` of the Gumbel-softmax: small ones have less bias and more noise."""

    def __post_init__(self) -> None:
        if self.kind not in RELAXATIONS:
            raise ValueError(f"Expected a relaxation among {', '.join(RELAXATIONS)}, got {self.kind!r}.")
        low, high = TEMPERATURES
        for name in ("temperature", "gumbel_temperature"):
            if not low <= getattr(self, name) <= high:
                raise ValueError(
                    f"Expected a `{name}` from {low:g} to {high:g}, got {getattr(self, name):g}: at 0 a code has no "
                    "gradient; 1 draws from the model as it is."
                )


class CodeHead:
    """
    Logits of the dynamics codes of a completion, in the place of a [`~rlvr_world_hf.rollouts.head.RangeHead`].

    Args:
        processor ([`VideoWorldModelProcessor`]):
            Knows where codes stand.
        horizon (`int`):
            Steps of a completion, `S`.

    Example:

    ```python
    >>> from rlvr_world_hf import CompressiveTokenizer
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> head = CodeHead(VideoWorldModelProcessor.from_codec(codec, [0.0], [1.0]), horizon=3)
    >>> head.codes, head.positions.shape  # 1,000 codes, of which three frames have four each
    ((0, 1000), torch.Size([12]))

    ```
    """

    def __init__(self, processor: VideoWorldModelProcessor, horizon: int) -> None:
        self.codes = (0, processor.layout.dynamics_codebook_size)
        ranges = processor.token_ranges(horizon)
        is_code = processor.model_token_mask(horizon) & (ranges == ranges.new_tensor(self.codes)).all(dim=1)
        self.positions = is_code.nonzero().flatten()

    def __call__(
        self, hidden_states: torch.Tensor, head: OutputHead, ids: torch.Tensor, *, with_entropies: bool = False
    ) -> torch.Tensor:
        """
        Logits of the codes.

        Args:
            hidden_states (`torch.Tensor` of shape `(B, L, D)`):
                States that predict each token of the completion.
            head ([`~rlvr_world_hf.rollouts.head.OutputHead`]):
                That of the model.
            ids (`torch.Tensor` of shape `(B, L)`, int64):
                The completion; not read.
            with_entropies (`bool`, *optional*):
                Not read: what a range head takes.

        Returns:
            `torch.Tensor` of shape `(B, S * N, V)`, float32: in the order of the completion.
        """
        return head(hidden_states[:, self.positions.to(hidden_states.device)], self.codes)


def straight_through(
    logits: torch.Tensor, codes: torch.Tensor, relaxation: Relaxation, *, exponentials: torch.Tensor | None = None
) -> torch.Tensor:
    """
    One-hot weights of codes that were drawn, with the gradient of what they were drawn by.

    Args:
        logits (`torch.Tensor` of shape `(..., V)`):
            Logits of all codes.
        codes (`torch.Tensor` of shape `(...)`, int64):
            The codes, drawn from `softmax(logits / temperature)`.
        relaxation ([`Relaxation`]):
            How they are relaxed.
        exponentials (`torch.Tensor` of shape `(..., V)`, *optional*):
            Noise of the Gumbel-softmax, which needs it, see [`gumbel_given`].

    Returns:
        `torch.Tensor` of shape `(..., V)`, float32: 1 at the code and 0 elsewhere.

    Example:

    ```python
    >>> logits = torch.tensor([0.0, 0.0, 0.0], requires_grad=True)
    >>> weights = straight_through(logits, torch.tensor(1), Relaxation(kind="softmax"))
    >>> (weights @ torch.tensor([1.0, 2.0, 4.0])).backward()  # the value of the code; a gradient to larger ones
    >>> weights.tolist(), [round(x, 3) for x in logits.grad.tolist()]
    ([0.0, 1.0, 0.0], [-0.444, -0.111, 0.556])

    ```
    """
    log_p = (logits.float() / relaxation.temperature).log_softmax(dim=-1)
    if relaxation.kind == "gumbel":
        assert exponentials is not None, "the Gumbel-softmax is of noise"
        noise = gumbel_given(log_p.detach(), codes, exponentials)
        soft = ((log_p + noise) / relaxation.gumbel_temperature).softmax(dim=-1)
    else:
        soft = log_p.exp()
    hard = torch.zeros_like(soft).scatter_(-1, codes[..., None], 1.0)
    return hard + (soft - soft.detach())


def gumbel_given(log_p: torch.Tensor, codes: torch.Tensor, exponentials: torch.Tensor) -> torch.Tensor:
    r"""
    Gumbel noise as it is, given that its sum with log-probabilities is largest at certain codes.

        g_k = -\log E_k - \log p_k,     g_j = -\log(E_j / p_j + E_k) - \log p_j,     E exponential of rate 1

    Over codes drawn from p, this is Gumbel noise.

    Args:
        log_p (`torch.Tensor` of shape `(..., V)`, float32):
            Log-probabilities.
        codes (`torch.Tensor` of shape `(...)`, int64):
            The codes.
        exponentials (`torch.Tensor` of shape `(..., V)`):
            `E`, above 0.

    Returns:
        `torch.Tensor` of shape `(..., V)`: the noise.

    Example:

    ```python
    >>> log_p = torch.tensor([0.1, 0.2, 0.7]).log()
    >>> noise = gumbel_given(log_p, torch.tensor(0), torch.ones(3))
    >>> int((log_p + noise).argmax())
    0

    ```
    """
    log_e = exponentials.log()
    of_code = log_e.gather(-1, codes[..., None])
    largest = -torch.logaddexp(log_e - log_p, of_code)
    return largest.scatter(-1, codes[..., None], -of_code) - log_p


def relaxed_rollout(
    model: PreTrainedModel,
    processor: VideoWorldModelProcessor,
    *,
    seeds: Sequence[int],
    horizon: int,
    relaxation: Relaxation,
    forward: Any = None,
    autocast_dtype: torch.dtype | None = None,
    **columns: torch.Tensor,
) -> torch.Tensor:
    """
    Sampled predictions, one of each context, that gradients flow back through to the model.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The world model; its `forward` is changed once to take a [`CodeHead`].
        processor ([`VideoWorldModelProcessor`]):
            Its processor; the codec is not changed.
        seeds (`Sequence[int]` of length `B`):
            A seed for each context.
        horizon (`int`):
            Steps to predict, `S`.
        relaxation ([`Relaxation`]):
            How codes are drawn and relaxed.
        forward (`Callable`, *optional*):
            What computes the model with gradients, where something wraps it; the model by default.
        autocast_dtype (`torch.dtype`, *optional*):
            Precision of the model's computation; frames are decoded in float32.
        columns (`dict[str, torch.Tensor]`):
            The columns of the prompt, each with `B` rows: `context`, `actions`, and `context_states` where the world
            has sensors.

    Returns:
        `torch.Tensor` of shape `(B, S, 3, H, W)`, float32 in `[0, 1]`: the frames of the sampled codes, on the
        codec's device.

    Raises:
        ValueError: as [`~rlvr_world_hf.rollouts.rollout`].
        TypeError: if the codec lets no gradient through.

    Example:

    ```python
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from rlvr_world_hf import CompressiveTokenizer
    >>> codec = CompressiveTokenizer(block_out_channels=(16, 16), norm_num_groups=4, image_size=(16, 16))
    >>> processor = VideoWorldModelProcessor.from_codec(codec, [-1.0], [1.0], action_bins=8)
    >>> sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=processor.layout.vocabulary_size, **sizes))
    >>> prompt = {"context": torch.rand(2, 1, 3, 16, 16), "actions": torch.zeros(2, 4, 1)}
    >>> frames = relaxed_rollout(model, processor, seeds=[1, 2], horizon=3, relaxation=Relaxation(), **prompt)
    >>> frames.mean().backward()
    >>> frames.shape, bool(model.lm_head.weight.grad.any())
    (torch.Size([2, 3, 3, 16, 16]), True)

    ```
    """
    accept_range_head(model)
    given: dict[str, Any] = {"autocast_dtype": autocast_dtype, **columns}
    temperature = relaxation.temperature
    sampled = rollout(model, processor, seeds=seeds, horizon=horizon, temperature=temperature, decode=False, **given)
    ids, head = sampled.completion_ids, CodeHead(processor, horizon)
    with torch.autocast(ids.device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None):
        asked = {"range_head": head, "completion_ids": ids}
        logits = (forward or model)(input_ids=torch.cat([sampled.prompt_ids, ids], dim=1), **asked)
    codes = rearrange(processor.layout.read_dynamics(ids), "B S N -> B (S N)")
    noise = None if relaxation.kind != "gumbel" else _exponentials(seeds, logits.shape[1:]).to(logits.device)
    with torch.autocast(logits.device.type, enabled=False):
        weights = straight_through(logits, codes.to(logits.device), relaxation, exponentials=noise)
        weights = rearrange(weights, "B (S N) V -> B S N V", S=horizon)
        return processor.decode_weights(weights.to(processor.device), columns["context"])


def _exponentials(seeds: Sequence[int], shape: torch.Size) -> torch.Tensor:
    """Noise `(B, *shape)` on the CPU, of each row by its own seed, and other than what its codes are drawn by."""
    noise = torch.empty(len(seeds), *shape)
    for row, seed in zip(noise, seeds, strict=True):
        row.exponential_(generator=torch.Generator().manual_seed(seed_of(int(seed), 1)))
    return noise.clamp_(min=1e-30)  # of 0 there is no logarithm
