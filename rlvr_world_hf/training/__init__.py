"""
In: rows, a processor, rewards and a model.
Out: the trained model: by likelihood (transformers' `Trainer`) or by verifiable rewards (TRL's `GRPOTrainer`).
Never: evaluation, or how a frame is coded.
"""

import lazy_loader as lazy


__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
