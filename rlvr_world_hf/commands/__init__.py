"""
In: the words of a command line.
Out: a stage, a run, a finding or a tool that was run; an exit code.
Never: work of its own: a command calls the room that does it.
"""
