"""
In: rows, a processor, rewards and a model.
Out: the trained model: by likelihood (transformers' `Trainer`) or by verifiable rewards (TRL's `GRPOTrainer`).
Never: evaluation, or how a frame is coded.
"""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names


if TYPE_CHECKING:
    from .grpo_config import WorldModelGRPOConfig as WorldModelGRPOConfig
    from .grpo_trainer import WorldModelGRPOTrainer as WorldModelGRPOTrainer
    from .pretraining import LikelihoodConfig as LikelihoodConfig
    from .pretraining import build_policy as build_policy
    from .pretraining import pretrain as pretrain
    from .pretraining import tokenize_rows as tokenize_rows

__getattr__, __dir__ = lazy_names(__name__, __file__)
