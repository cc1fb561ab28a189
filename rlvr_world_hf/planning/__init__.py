"""
In: what is seen now, a goal or a cost, actions to choose from, and a world model or the true world to imagine with.
Out: the action to take next, and the plan that it begins.
Never: training, commands, or how a world model writes its tokens.
"""

import lazy_loader as lazy


__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
