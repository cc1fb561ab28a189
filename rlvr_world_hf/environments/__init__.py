"""
In: a world model with its processor, starts, and the actions of any policy.
Out: gymnasium's reset and step, whose next states the model predicts; predictions far beyond its horizon.
Never: how a model is trained, or how actions are planned.
"""

import lazy_loader as lazy


__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
