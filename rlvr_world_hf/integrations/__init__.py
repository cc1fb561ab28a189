"""
In: what another library asks of a world model, in its own form.
Out: the same of ours, so that its tools run on our checkpoints.
Never: what these tools do themselves, or a package that is not an extra.
"""
