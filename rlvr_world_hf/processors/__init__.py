"""
In: frames and actions of a transition; completions of a model.
Out: token ids with their layout and masks; decoded states.
Never: rewards, or any file outside this room: its files travel to the Hub alone.
"""
