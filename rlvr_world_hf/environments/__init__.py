"""
In: a world model with its processor, starts, and the actions of any policy.
Out: gymnasium's reset and step, whose next states the model predicts; how well policies are ranked within it.
Never: how a model is trained, or how actions are planned.
"""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names


if TYPE_CHECKING:
    from .policy_evaluation import evaluate_policies as evaluate_policies
    from .world_model_env import WorldModelEnv as WorldModelEnv
    from .world_model_vector_env import WorldModelVectorEnv as WorldModelVectorEnv

__getattr__, __dir__ = lazy_names(__name__, __file__)
