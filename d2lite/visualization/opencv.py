"""OpenCV, imported when it is needed."""

from types import ModuleType


def load_cv2() -> ModuleType:
    """OpenCV, imported when something is drawn, with a hint where it does not load.

    Raises:
        ImportError: if it is missing or lacks a library of the system.
    """
    try:
        import cv2  # an optional third party: headless servers often cannot load it
    except ImportError as err:
        raise ImportError(
            f"OpenCV, which draws the pictures, could not be loaded ({err}). Install it with "
            "'pip install opencv-python', or on a machine without a display "
            "'pip install opencv-python-headless'."
        ) from err
    return cv2
