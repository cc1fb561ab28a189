"""
In: a model, its processor and measured results.
Out: folders and Hub repositories that load with `from_pretrained`, and their cards.
Never: training, evaluation or commands.
"""

import lazy_loader as lazy


__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
