"""
In: checkpoints, and what a user does: targets on a frame, an action in a text game, a Hub id.
Out: what the true world and each model make of it, step by step, as arrays, records and fragments of a page.
Never: the page itself; which buttons there are is a Space's affair.
"""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names


if TYPE_CHECKING:
    from .checkpoints import Checkpoints as Checkpoints
    from .text import TextPlayground as TextPlayground
    from .video import Playground as Playground

__getattr__, __dir__ = lazy_names(__name__, __file__)
