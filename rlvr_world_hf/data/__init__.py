"""
In: a source of recorded or simulated experience.
Out: episodes, their windows, and rows of a `datasets.Dataset`, split by episode.
Never: tokens, rewards or models.
"""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names


if TYPE_CHECKING:
    from .augmentation import ClipAugmentation as ClipAugmentation
    from .bytesized32 import RecordedTransitions as RecordedTransitions
    from .bytesized32 import read_hub_rows as read_hub_rows
    from .episode import Episode as Episode
    from .rows import load_episodes as load_episodes
    from .rows import save_episodes as save_episodes
    from .rows import split_episodes as split_episodes
    from .rows import window_rows as window_rows
    from .windows import Window as Window

__getattr__, __dir__ = lazy_names(__name__, __file__)
