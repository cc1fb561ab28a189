"""Names of `worlds/textworld/rewards.py` stay importable from here, where they were before."""

from ..worlds.textworld.rewards import FactF1Reward as FactF1Reward
from ..worlds.textworld.rewards import FactMatchReward as FactMatchReward
