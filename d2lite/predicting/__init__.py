"""FACE: trained models for images of any kind, and plain results."""

from .cropped_mask import CroppedMask
from .found import Found, Segment
from .predictor import Predictor
from .result import Result

__all__ = ["CroppedMask", "Found", "Predictor", "Result", "Segment"]
