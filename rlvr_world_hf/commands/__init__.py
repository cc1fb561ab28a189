"""
In: the words of a command line.
Out: what they ask for: a stage, a run, a finding, or a tool beside them; an exit code.
Never: work of its own: a command calls the room that does it.
"""
