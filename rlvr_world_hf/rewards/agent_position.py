"""Names of `worlds/pusht/rewards.py` stay importable from here, where they were before."""

from ..worlds.pusht.rewards import AgentPositionReward as AgentPositionReward
