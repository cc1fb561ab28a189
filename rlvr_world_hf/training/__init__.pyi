from .grpo_config import WorldModelGRPOConfig as WorldModelGRPOConfig
from .grpo_trainer import WorldModelGRPOTrainer as WorldModelGRPOTrainer
from .pretraining import LikelihoodConfig as LikelihoodConfig
from .pretraining import build_policy as build_policy
from .pretraining import pretrain as pretrain
from .pretraining import tokenize_rows as tokenize_rows
