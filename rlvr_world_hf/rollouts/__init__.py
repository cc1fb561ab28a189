"""
In: a model, a processor, context frames and actions.
Out: a group of predictions of each prompt: ids, model-token mask, decoded states.
Never: rewards, trainers or the source of the data.
"""

import lazy_loader as lazy


__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
