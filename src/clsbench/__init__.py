"""clsbench: which way of fine-tuning a language model as a classifier is best, and what it costs.

The public API, loaded on first use so that ``import clsbench`` stays light.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
