"""The kinds of worlds: frames and sensors, written as step blocks, and text. Each serves the stages."""

from ..recipe import Recipe
from ..world import is_text
from .kind import WorldKind as WorldKind
from .step_blocks import StepBlockKind as StepBlockKind
from .text import TextKind as TextKind


def kind_of(recipe: Recipe) -> WorldKind:
    """
    The kind of a recipe's world.

    Args:
        recipe (`Recipe`):
            The recipe.

    Returns:
        [`WorldKind`]: bound to the recipe.

    Raises:
        ValueError: If there is no such world.
    """
    return TextKind(recipe) if is_text(recipe) else StepBlockKind(recipe)
