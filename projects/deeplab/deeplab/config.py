"""The configuration keys of DeepLab; `d2lite.modeling.deeplab.keys` lists them."""

from d2lite.modeling.deeplab import add_deeplab_keys as add_deeplab_config

__all__ = ["add_deeplab_config"]
