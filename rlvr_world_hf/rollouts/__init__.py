"""
In: a model, a processor, context frames and actions.
Out: a group of predictions of each prompt: ids, model-token mask, decoded states.
Never: rewards, trainers or the source of the data.
"""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names


if TYPE_CHECKING:
    from .record import Rollout as Rollout
    from .sampling import draw_uniforms as draw_uniforms
    from .sampling import rollout as rollout
    from .sampling import sample_completions as sample_completions

__getattr__, __dir__ = lazy_names(__name__, __file__)
