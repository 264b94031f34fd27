"""FACE: a trained model as a web page and an HTTP route."""

from .app import build_app
from .model_queue import ModelQueue, QueueFullError
from .upload import Limits, RefusedUploadError

__all__ = ["Limits", "ModelQueue", "QueueFullError", "RefusedUploadError", "build_app"]
