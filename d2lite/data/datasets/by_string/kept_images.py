"""Images that label files hold in themselves, as files in the cache folder."""

import hashlib
import io
from pathlib import Path

from PIL import Image

from d2lite.utils.file_io import write_file


def kept_image(data: bytes, folder: Path, stem: str) -> Path:
    """The file of an image, which is written unless it is there.

    Args:
        data: the encoded image.
        folder: where to.
        stem: how its name begins.

    Raises:
        OSError, SyntaxError: if the bytes are not an image.
    """
    with Image.open(io.BytesIO(data)) as opened:
        ending = str(opened.format).lower()
    # Named by the content, so that another version of the data does not get these pixels.
    digest = hashlib.blake2b(data, digest_size=6).hexdigest()
    path = folder / f"{stem}-{digest}.{'jpg' if ending == 'jpeg' else ending}"
    if not path.is_file():
        write_file(path, data)
    return path
