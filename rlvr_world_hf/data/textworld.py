"""Names of `worlds/textworld/games.py` stay importable from here, where they were before."""

from ..worlds.textworld.games import *
