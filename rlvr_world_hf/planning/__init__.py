"""
In: what is seen now, a goal or a cost, actions to choose from, and a world model or the true world to imagine with.
Out: the action to take next, and the plan that it begins.
Never: training, commands, or how a world model writes its tokens.
"""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names


if TYPE_CHECKING:
    from .controller import RecedingHorizonController as RecedingHorizonController
    from .cross_entropy import CrossEntropyPlanner as CrossEntropyPlanner
    from .enumeration import EnumerationPlanner as EnumerationPlanner
    from .goal_cost import GoalCost as GoalCost
    from .imagination import ImaginedCost as ImaginedCost
    from .path_integral import PathIntegralPlanner as PathIntegralPlanner
    from .planner import ActionBox as ActionBox
    from .planner import Plan as Plan
    from .random_shooting import RandomShootingPlanner as RandomShootingPlanner
    from .text_agent import TextCost as TextCost
    from .text_agent import guided_actions as guided_actions
    from .text_agent import predicted_states as predicted_states

__getattr__, __dir__ = lazy_names(__name__, __file__)
