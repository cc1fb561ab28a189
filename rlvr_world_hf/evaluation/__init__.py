"""
In: a checkpoint's predictions and their references on held-out episodes.
Out: `results.json` and a Markdown table, each number with its spread.
Never: training; what it measures carries no gradient.
"""

import lazy_loader as lazy


__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
