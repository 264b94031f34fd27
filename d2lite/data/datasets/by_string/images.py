"""A folder of images without annotations, to predict on."""

import logging
from typing import Any

from d2lite.data.datasets.image_finder import (
    files_below,
    has_image,
    images_below,
    unread_images,
)
from d2lite.data.records.faults import reading_faults
from d2lite.data.records.image_sizes import image_record, size_or_record_fault
from d2lite.utils.errors import DataError

from .source import find_path

logger = logging.getLogger(__name__)


class ImagesSource:
    """All images of a folder, subfolders included."""

    evaluator_type = "coco"

    def __init__(self, path: str) -> None:
        """Find the folder.

        Args:
            path: the folder, or one image.
        """
        self._folder = find_path(path, suits=has_image)

    def metadata(self) -> dict[str, Any]:
        """Where the images are."""
        return {"image_root": str(self._folder)}

    def classes(self) -> None:
        """None: there are no annotations."""

    def category_ids(self) -> None:
        """None: there are no annotations."""

    def load(self) -> list[dict[str, Any]]:
        """One dict an image, without "annotations", in order of the path.

        Raises:
            DataError: if there are no images.
        """
        images = [self._folder] if self._folder.is_file() else images_below(self._folder)
        if not images:
            text = f"There are no images in {self._folder} or its subfolders."
            raise DataError(f"{text} {unread_images(files_below(self._folder))}".rstrip())
        with reading_faults(str(self._folder)) as faults:
            sizes = [size_or_record_fault(image, faults) for image in images]
        records = [
            image_record(image, number, size)
            for number, (image, size) in enumerate(zip(images, sizes, strict=True), start=1)
            if size is not None
        ]
        logger.info("Found %d images in %s", len(records), self._folder)
        return records
