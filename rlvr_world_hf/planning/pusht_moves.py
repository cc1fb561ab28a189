"""Names of `worlds/pusht/moves.py` stay importable from here, where they were before."""

from ..worlds.pusht.moves import *
