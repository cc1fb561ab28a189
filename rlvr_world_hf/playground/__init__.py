"""
In: checkpoints, and what a user does: targets on a frame, an action in a text game, a Hub id.
Out: what true world and models make of it, as arrays, records and fragments of a page; or a sentence why not.
Never: the page itself and its buttons, which belong to a Space.
"""
