"""Names of `worlds/bytesized32/rewards.py` stay importable from here, where they were before."""

from ..worlds.bytesized32.rewards import ObjectStateReward as ObjectStateReward
