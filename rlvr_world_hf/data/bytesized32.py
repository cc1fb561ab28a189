"""Names of `worlds/bytesized32/records.py` stay importable from here, where they were before."""

from ..worlds.bytesized32.records import *
