from .hub.checkpoint import load_world_model as load_world_model
from .hub.checkpoint import save_world_model as save_world_model
from .pipeline import WorldModelPipeline as WorldModelPipeline
from .processors.sensor import SensorWorldModelProcessor as SensorWorldModelProcessor
from .processors.text import LanguageWorldModelProcessor as LanguageWorldModelProcessor
from .processors.video import VideoWorldModelProcessor as VideoWorldModelProcessor
from .rewards.base import VerifiableReward as VerifiableReward
from .rewards.inverse_dynamics import InverseDynamicsModel as InverseDynamicsModel
from .rewards.perceptual import LPIPSReward as LPIPSReward
from .rewards.pixel import MAEReward as MAEReward
from .rewards.pixel import MSEReward as MSEReward
from .rewards.pixel import PSNRReward as PSNRReward
from .rewards.pixel import SSIMReward as SSIMReward
from .tokenizers.modeling_compressive_tokenizer import CompressiveTokenizer as CompressiveTokenizer
from .tokenizers.modeling_frame_tokenizer import FrameTokenizer as FrameTokenizer
from .training.grpo_config import WorldModelGRPOConfig as WorldModelGRPOConfig
from .training.grpo_trainer import WorldModelGRPOTrainer as WorldModelGRPOTrainer
from .worlds.pusht.pose_rewards import BlockPoseReward as BlockPoseReward
from .worlds.pusht.rewards import AgentPositionReward as AgentPositionReward
from .worlds.pusht.rigidity_rewards import RigidityReward as RigidityReward

__version__: str
