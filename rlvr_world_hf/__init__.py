"""
World models trained with verifiable rewards, the Hugging Face way.

The path of one sample: data, processor, rollout, reward, update, table, Hub. Every name below loads its module on
first use; importing the package itself imports neither torch nor transformers, and makes transformers' `AutoProcessor`
know our processors.
"""

from typing import TYPE_CHECKING

from rlvr_world_hf.auto_processors import register_processors  # absolute, as it is no name the package offers

from .lazy_names import lazy_names


if TYPE_CHECKING:
    from .hub.checkpoint import load_world_model as load_world_model
    from .hub.checkpoint import save_world_model as save_world_model
    from .pipeline import WorldModelPipeline as WorldModelPipeline
    from .processors.sensor import SensorWorldModelProcessor as SensorWorldModelProcessor
    from .processors.text import LanguageWorldModelProcessor as LanguageWorldModelProcessor
    from .processors.video import VideoWorldModelProcessor as VideoWorldModelProcessor
    from .rewards.agent_position import AgentPositionReward as AgentPositionReward
    from .rewards.base import VerifiableReward as VerifiableReward
    from .rewards.perceptual import LPIPSReward as LPIPSReward
    from .rewards.pixel import MAEReward as MAEReward
    from .rewards.pixel import MSEReward as MSEReward
    from .rewards.pixel import PSNRReward as PSNRReward
    from .rewards.pixel import SSIMReward as SSIMReward
    from .tokenizers.modeling_compressive_tokenizer import CompressiveTokenizer as CompressiveTokenizer
    from .tokenizers.modeling_frame_tokenizer import FrameTokenizer as FrameTokenizer
    from .training.grpo_config import WorldModelGRPOConfig as WorldModelGRPOConfig
    from .training.grpo_trainer import WorldModelGRPOTrainer as WorldModelGRPOTrainer

__version__ = "0.1.0.dev0"

__getattr__, __dir__ = lazy_names(__name__, __file__)

register_processors(__name__, [name for name in __dir__() if name.endswith("Processor")])
