"""
In: a completion of a language model.
Out: the answer in it, without the text around it; JSON, repaired if it is nearly valid; where it differs.
Never: the meaning of the answer, which only its world knows.
"""
