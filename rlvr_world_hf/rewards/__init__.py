"""
In: predicted and reference states, in this order.
Out: one number a sample, higher is better; the same measures unsigned for the table.
Never: tokens, models or trainers.
"""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names


if TYPE_CHECKING:
    from .agent_position import AgentPositionReward as AgentPositionReward
    from .base import VerifiableReward as VerifiableReward
    from .fact_state import FactF1Reward as FactF1Reward
    from .fact_state import FactMatchReward as FactMatchReward
    from .multi_scale import MSSSIMReward as MSSSIMReward
    from .multi_scale import ms_ssim as ms_ssim
    from .object_state import ObjectStateReward as ObjectStateReward
    from .page_change import PageChangeReward as PageChangeReward
    from .page_change import page_change_scores as page_change_scores
    from .perceptual import LPIPSReward as LPIPSReward
    from .pixel import MAEReward as MAEReward
    from .pixel import MSEReward as MSEReward
    from .pixel import PSNRReward as PSNRReward
    from .pixel import SSIMReward as SSIMReward
    from .pixel import mae as mae
    from .pixel import mse as mse
    from .pixel import psnr as psnr
    from .pixel import ssim as ssim
    from .repetition import RepetitionReward as RepetitionReward
    from .repetition import repetition_rate as repetition_rate
    from .sensor import SensorAccuracyReward as SensorAccuracyReward
    from .sensor import SensorMAEReward as SensorMAEReward
    from .sensor import SensorMSEReward as SensorMSEReward

__getattr__, __dir__ = lazy_names(__name__, __file__)
