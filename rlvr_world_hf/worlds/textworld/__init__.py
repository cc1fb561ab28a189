"""
In: seeds and commands of text games.
Out: transitions of TextWorld games, their facts, rewards on facts, quests for agents, a playground.
Never: how a model is trained.
"""

import lazy_loader as lazy


__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
