"""
World models trained with verifiable rewards, the Hugging Face way.

The path of one sample: data, processor, rollout, reward, update, table, Hub. Every name below loads its module on
first use (`__init__.pyi` lists them); importing the package itself imports neither torch nor transformers.
"""

import lazy_loader as lazy


__version__ = "0.1.0.dev0"

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
