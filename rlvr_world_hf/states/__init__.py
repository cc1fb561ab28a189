"""
In: decoded frames (later: text) of one moment.
Out: what is in them, such as the agent's position, in a form two of which can be compared.
Never: tokens, scores, or who asks.
"""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names


if TYPE_CHECKING:
    from .fact_state import FactChange as FactChange
    from .fact_state import FactState as FactState
    from .pusht_state import locate_agent as locate_agent

__getattr__, __dir__ = lazy_names(__name__, __file__)
