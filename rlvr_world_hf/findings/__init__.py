"""
In: finished runs, or a recipe and what to vary in it.
Out: measured pieces, kept for a measurement that was interrupted; a JSON file, plots, a table of the evidence page.
Never: how a stage works: it runs recipes.
"""
