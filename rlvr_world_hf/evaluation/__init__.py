"""
In: a checkpoint's predictions and their references on held-out episodes.
Out: `results.json` and a Markdown table, each number with its spread.
Never: training; what it measures carries no gradient.
"""
