"""Old address of `d2lite.visualization.VideoVisualizer`; nothing in d2lite imports this file."""

from d2lite.visualization import VideoVisualizer
from d2lite.visualization.video_visualizer import _DetectedInstance

__all__ = ["VideoVisualizer", "_DetectedInstance"]
