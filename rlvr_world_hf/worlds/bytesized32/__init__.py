"""
In: recorded transitions of ByteSized32, as JSON lines or as a dataset of the Hub.
Out: prompts and answers on objects and their properties, read back and rewarded, also as the authors' code does.
Never: how a model is trained.
"""

import lazy_loader as lazy


__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
