"""
In: a recipe's name and its overrides.
Out: the stages of a run, each resumed from what it finds in the output folder.
Never: formulas: a stage connects parts and measures nothing itself.
"""
