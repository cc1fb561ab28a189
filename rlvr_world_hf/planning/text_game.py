"""Names of `worlds/textworld/quests.py` stay importable from here, where they were before."""

from ..worlds.textworld.quests import *
