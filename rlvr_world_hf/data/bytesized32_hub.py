"""Names of `worlds/bytesized32/hub.py` stay importable from here, where they were before."""

from ..worlds.bytesized32.hub import *
