"""
In: predicted and reference states, in this order.
Out: one number a sample, higher is better; the same measures unsigned for the table.
Never: tokens, models or trainers.
"""

import lazy_loader as lazy


__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
