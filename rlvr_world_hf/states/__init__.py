"""
In: a completion of a language model.
Out: the answer in it, cut out of the text around it; JSON, repaired where it is nearly that.
Never: what the answer says: that is a world's affair.
"""
