"""
In: checkpoints, and what a user does: targets on a frame, an action in a text game, a Hub id.
Out: what the true world and each model make of it, step by step, as arrays, records and fragments of a page.
Never: the page itself and its buttons, which belong to a Space.
"""
