"""Old address of `d2lite.visualization.colormap`; nothing in d2lite imports this file."""

from d2lite.visualization.colormap import colormap, random_color, random_colors

__all__ = ["colormap", "random_color", "random_colors"]
