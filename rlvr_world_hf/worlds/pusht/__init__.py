"""
In: seeds and the targets of an agent.
Out: episodes of PushT, where agent and block are in a frame, rewards of that, tasks, judged policies, a playground.
Never: how a model is trained.
"""

import lazy_loader as lazy


__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
