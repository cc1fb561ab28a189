"""Names of `worlds/bytesized32/official_rewards.py` stay importable from here, where they were before."""

from ..worlds.bytesized32.official_rewards import official_binary_reward as official_binary_reward
from ..worlds.bytesized32.official_rewards import official_task_specific_reward as official_task_specific_reward
