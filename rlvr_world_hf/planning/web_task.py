"""Names of `worlds/web/tasks.py` stay importable from here, where they were before."""

from ..worlds.web.tasks import *
