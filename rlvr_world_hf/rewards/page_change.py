"""Names of `worlds/web/rewards.py` stay importable from here, where they were before."""

from ..worlds.web.rewards import PageChangeReward as PageChangeReward
from ..worlds.web.rewards import page_change_scores as page_change_scores
