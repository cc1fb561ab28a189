"""
In: decoded frames or text of one moment.
Out: what is in them, such as the agent's position, in a form two of which can be compared.
Never: tokens, scores, or who asks.
"""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names


if TYPE_CHECKING:
    from .compact_state import read_compact_state as read_compact_state
    from .compact_state import write_compact_difference as write_compact_difference
    from .compact_state import write_compact_state as write_compact_state
    from .fact_state import FactChange as FactChange
    from .fact_state import FactState as FactState
    from .object_answer import read_following_state as read_following_state
    from .object_state import ObjectState as ObjectState
    from .object_state import apply_difference as apply_difference
    from .object_state import object_state_text as object_state_text
    from .object_state import parse_object_state as parse_object_state
    from .object_state import state_difference as state_difference
    from .object_state import state_entries as state_entries
    from .page_change import PageChange as PageChange
    from .page_change import apply_page_change as apply_page_change
    from .page_change import page_difference as page_difference
    from .page_change import parse_page_change as parse_page_change
    from .page_tree import PageElement as PageElement
    from .page_tree import parse_page as parse_page
    from .page_tree import read_accessibility_tree as read_accessibility_tree
    from .page_tree import write_page as write_page
    from .pusht_block import locate_block as locate_block
    from .pusht_state import locate_agent as locate_agent

__getattr__, __dir__ = lazy_names(__name__, __file__)
