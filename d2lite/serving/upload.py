"""What is accepted as an image: its bytes and pixels, checked before it is decoded."""

import io
from dataclasses import dataclass

from PIL import Image

from d2lite.data.images.image_io import DECODING_ERRORS

MEGA = 1_000_000


class RefusedUploadError(Exception):
    """An upload that is not predicted.

    Attributes:
        status: HTTP status, 413 for one that is too large and 422 for one that is not an image.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """The largest image that is predicted.

    Attributes:
        num_bytes: of the file.
        num_pixels: of the image; a small file can hold very many.
    """

    num_bytes: int = 20 * MEGA
    num_pixels: int = 50 * MEGA

    def check_bytes(self, found: int) -> None:
        """Refuse a file of more bytes.

        Raises:
            RefusedUploadError: with status 413.
        """
        if found > self.num_bytes:
            raise RefusedUploadError(
                413,
                f"The file is larger than {self.num_bytes / MEGA:g} MB. Send a smaller image, or "
                "start the server with a larger --max-mb.",
            )

    def check_image(self, content: bytes) -> None:
        """Refuse what is not an image or has more pixels. Only the head of the file is read.

        Raises:
            RefusedUploadError: with status 413 or 422.
        """
        if not content:
            raise RefusedUploadError(422, "The file is empty. Send an image.")
        try:
            with Image.open(io.BytesIO(content)) as image:
                pixels = image.width * image.height
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            pixels = self.num_pixels + 1
        except DECODING_ERRORS as error:
            raise RefusedUploadError(
                422,
                "The file is not an image that can be read. Send a JPEG, PNG, WebP, TIFF or "
                "another format that Pillow reads.",
            ) from error
        if pixels > self.num_pixels:
            raise RefusedUploadError(
                413,
                f"The image has more than {self.num_pixels / MEGA:g} million pixels. Send a "
                "smaller one, or start the server with a larger --max-megapixels.",
            )
