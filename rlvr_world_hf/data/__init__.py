"""
In: a source of recorded or simulated experience.
Out: episodes, their windows, and rows of a `datasets.Dataset`, split by episode.
Never: tokens, rewards or models.
"""

import lazy_loader as lazy


__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
