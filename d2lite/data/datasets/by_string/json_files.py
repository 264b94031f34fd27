"""JSON as labelling tools write it: in UTF-8 or UTF-16, with or without a byte order mark."""

import json
from pathlib import Path
from typing import Any

from d2lite.utils.errors import DataError, MissingFileError


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        MissingFileError: if it cannot be opened.
        DataError: if it is not JSON, with the line.
    """
    try:
        data = path.read_bytes()
    except OSError as err:
        raise MissingFileError(f"{path} cannot be read: {err.strerror or err}.") from err
    try:
        # Bytes, since json then finds out by itself which UTF it is.
        return json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError) as err:
        raise DataError(f"{path} is not valid JSON: {err}. Is the download complete?") from err
