"""write_picture: a picture as a file, whole or absent."""

import os
from pathlib import Path

import numpy as np

from d2lite.utils.errors import OutputError
from d2lite.utils.file_io import write_file

from .opencv import load_cv2


def write_picture(filepath: str | os.PathLike[str], rgb: np.ndarray) -> None:
    """Write a picture to a file whose ending names the format.

    Args:
        filepath: for instance "out/picture.jpg"; the folder is made where it is missing.
        rgb: (H, W, 3) uint8.

    Raises:
        OutputError: if the ending is unknown or the file cannot be written.
    """
    path = Path(filepath)
    cv2 = load_cv2()
    try:
        done, encoded = cv2.imencode(path.suffix or ".?", np.ascontiguousarray(rgb[:, :, ::-1]))
    except cv2.error as err:
        raise OutputError(
            f"cannot write a picture as '{path}': the ending '{path.suffix}' names no format "
            "that is known here. Use .jpg or .png."
        ) from err
    if not done:
        raise OutputError(f"cannot turn the picture into the format of '{path}'.")
    # Not cv2.imwrite, which crashes on names that are not UTF-8 and leaves half files.
    write_file(path, encoded.tobytes())
