"""Names of `worlds/pusht/task.py` stay importable from here, where they were before."""

from ..worlds.pusht.task import *
