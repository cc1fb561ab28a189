"""
In: a browser on a small site of our own, or recorded pages of WebArena.
Out: pages as accessibility trees, what an action changes on them, rewards of that, tasks for agents.
Never: how a model is trained.
"""
