"""
In: seeds, folders or datasets of one world.
Out: its episodes or transitions, what its states mean, and the rewards, tasks and demo that only this world has.
Never: what is true of every world: that lies in the general rooms, which know no world by name.
"""
