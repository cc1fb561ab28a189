"""Names of `worlds/pusht/simulator.py` stay importable from here, where they were before."""

from ..worlds.pusht.policies import *
from ..worlds.pusht.simulator import *
