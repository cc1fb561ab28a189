"""
In: a checkpoint's predictions and their references on held-out episodes.
Out: `results.json` and a Markdown table, each number with its spread.
Never: training; what it measures carries no gradient.
"""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names


if TYPE_CHECKING:
    from .comparison import evaluate as evaluate
    from .comparison import evaluate_tokenizer as evaluate_tokenizer
    from .draws import BestSampling as BestSampling
    from .draws import Draws as Draws
    from .metrics import measure as measure
    from .metrics import metrics_of_processor as metrics_of_processor
    from .metrics import standard_metrics as standard_metrics
    from .results import make_results as make_results
    from .results import merge_results as merge_results
    from .results import validate_results as validate_results
    from .table import markdown_table as markdown_table

__getattr__, __dir__ = lazy_names(__name__, __file__)
