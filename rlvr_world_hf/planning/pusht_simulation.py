"""Names of `worlds/pusht/simulated_cost.py` stay importable from here, where they were before."""

from ..worlds.pusht.simulated_cost import *
