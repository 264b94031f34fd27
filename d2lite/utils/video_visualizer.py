"""FACE: the old address of `d2lite.visualization.VideoVisualizer`."""

from d2lite.visualization import VideoVisualizer

__all__ = ["VideoVisualizer"]
