"""Result: what a model found in one image, as plain numpy arrays.

N objects, K keypoints, H x W pixels of the image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from d2lite.data import Metadata
from d2lite.data.images.image_io import read_image
from d2lite.utils.errors import ConfigError, StateError
from d2lite.utils.file_io import write_json_file

from .cropped_mask import BoolArray, CroppedMask
from .drawing import draw_found, write_picture
from .exchange import coco_results, json_content, supervision_detections
from .found import Floats, Found, Segment
from .thresholds import Thresholds, threshold_array

__all__ = ["Found", "Result", "Segment"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Result:
    """The objects of one image, sorted by score; `len`, iteration and `result[...]` work.

        for found in result.filter(threshold=0.7, classes=["cat"]):
            print(found.name, found.score, found.box)

    Attributes:
        size: (height, width) of the image; all coordinates are its pixels.
        boxes: (N, 4) x0, y0, x1, y1.
        scores: (N,) in [0, 1].
        classes: (N,) numbers of the classes.
        metadata: class names and colours, for drawing.
        cropped_masks: of each object; None where the model has no masks.
        keypoints: (N, K, 3) x, y, score; None where the model has no keypoints.
        rotated_boxes: (N, 5) centre x, centre y, width, height, degrees counter-clockwise; None
            where the model has no rotated boxes. `boxes` are then the upright ones around them.
        track_ids: (N,) numbers of objects in a video; None without tracking.
        segments: of a panoptic model; None of others.
        segment_map: (H, W) `Segment.id` of each pixel, 0 for none; None without segments.
        semantic: (H, W) class number of each pixel; None where the model has none.
        path: of the image; "" where it had none.
        image: (H, W, 3) uint8 RGB; None where only the path is known.
    """

    size: tuple[int, int]
    boxes: Floats
    scores: Floats
    classes: Ints
    metadata: Metadata
    cropped_masks: Sequence[CroppedMask] | None = None
    keypoints: Floats | None = None
    rotated_boxes: Floats | None = None
    track_ids: Ints | None = None
    segments: Sequence[Segment] | None = None
    segment_map: NDArray[np.int32] | None = None
    semantic: NDArray[np.int32] | None = None
    path: str = ""
    image: NDArray[np.uint8] | None = field(default=None, repr=False)

    @property
    def class_names(self) -> list[str]:
        """Names of all classes of the model; empty where they are not known."""
        return list(self.metadata.get("thing_classes") or ())

    @property
    def names(self) -> list[str]:
        """The class name of each object."""
        return self._names_of(self.classes)

    def _names_of(self, classes: Iterable[int]) -> list[str]:
        known = self.class_names
        return [known[number] if number < len(known) else f"class {number}" for number in classes]

    @property
    def masks(self) -> BoolArray | None:
        """(N, H, W) bool, made at each access; None where the model has no masks.

        For large images use `cropped_masks`: 100 objects in 10,000 x 10,000 pixels are 10 GB here.
        """
        if self.cropped_masks is None:
            return None
        out = np.zeros((len(self), *self.size), dtype=bool)
        for canvas, mask in zip(out, self.cropped_masks, strict=True):
            x0, y0, x1, y1 = mask.box
            canvas[y0:y1, x0:x1] = mask.bits
        return out

    def __len__(self) -> int:
        return len(self.boxes)

    def counts(self) -> dict[str, int]:
        """How many objects of each class there are, the most frequent class first."""
        return dict(Counter(self.names).most_common())

    def __repr__(self) -> str:
        counts = self.counts().items()
        listed = ", ".join(f"{count} {name}" for name, count in counts) or "no objects"
        more = "" if self.segments is None else f", {len(self.segments)} segments"
        more += "" if self.semantic is None else ", classes of all pixels"
        of = f" in {self.path}" if self.path else ""
        return f"Result({listed}{more}{of}, {self.size[1]} x {self.size[0]} pixels)"

    def __iter__(self) -> Iterator[Found]:
        return (self._found(index) for index in range(len(self)))

    @overload
    def __getitem__(self, item: int) -> Found: ...

    @overload
    def __getitem__(self, item: slice | Sequence[int] | NDArray[Any]) -> Result: ...

    def __getitem__(self, item: Any) -> Any:
        """One object for a number; a `Result` for a slice, numbers or an (N,) bool array."""
        if isinstance(item, int | np.integer):
            return self._found(range(len(self))[item])
        # An empty list would be an array of floats.
        index = np.asarray(item, dtype=None if item else int) if isinstance(item, list) else item
        picked = np.arange(len(self))[index]

        def part(values: Any) -> Any:
            return None if values is None else values[picked]

        masks = self.cropped_masks
        return replace(
            self,
            boxes=self.boxes[picked],
            scores=self.scores[picked],
            classes=self.classes[picked],
            cropped_masks=None if masks is None else [masks[i] for i in picked],
            keypoints=part(self.keypoints),
            rotated_boxes=part(self.rotated_boxes),
            track_ids=part(self.track_ids),
        )

    def _found(self, index: int) -> Found:
        x0, y0, x1, y1 = self.boxes[index].tolist()
        return Found(
            self._names_of(self.classes[index : index + 1])[0],
            float(self.scores[index]),
            (x0, y0, x1, y1),
            int(self.classes[index]),
            None if self.cropped_masks is None else self.cropped_masks[index],
            None if self.keypoints is None else self.keypoints[index],
            None if self.rotated_boxes is None else self.rotated_boxes[index],
            None if self.track_ids is None else int(self.track_ids[index]),
        )

    def filter(
        self, *, threshold: Thresholds = None, classes: Collection[str | int] | None = None
    ) -> Result:
        """Only some of the objects.

        Args:
            threshold: lowest score, for all classes or by class name.
            classes: names or numbers of the classes to keep, or one name; None keeps all.

        Raises:
            ConfigError: if a class is unknown.
        """
        keep = np.ones(len(self), dtype=bool)
        if threshold is not None:
            lowest = threshold_array(threshold, self.class_names, default=0.0)
            keep &= self.scores >= lowest(self.classes)
        if classes is not None:
            classes = [classes] if isinstance(classes, str) else classes
            known = self.class_names
            unknown = [name for name in classes if isinstance(name, str) and name not in known]
            if unknown:
                raise ConfigError(
                    f"The model has no class {', '.join(map(repr, unknown))}; it has "
                    f"{', '.join(known)}."
                )
            numbers = [known.index(c) if isinstance(c, str) else int(c) for c in classes]
            keep &= np.isin(self.classes, numbers)
        return self[keep]

    def plot(self, path: str | Path | None = None, *, scale: float | None = None) -> Any:
        """Draw everything that was found on the image.

        Args:
            path: where to save the picture too; its ending names the format.
            scale: size of the picture relative to the image; None enlarges small images, so that
                labels can be read.

        Returns:
            (H', W', 3) uint8 RGB.

        Raises:
            OutputError: if the picture cannot be written.
        """
        if self.image is None and not self.path:
            raise StateError("There is no image to draw on: the result has neither image nor path.")
        image = read_image(self.path, "RGB") if self.image is None else self.image
        picture = draw_found(
            image,
            self.metadata,
            list(self),
            segments=self.segments,
            segment_map=self.segment_map,
            semantic=self.semantic,
            scale=scale,
        )
        if path is not None:
            write_picture(picture, Path(path))
        return picture

    def save(self, path: str | Path) -> None:
        """Write the picture of `plot`, or the objects where the path ends in .json.

        Args:
            path: of the file, which is whole or not there.

        Raises:
            OutputError: if it cannot be written.
        """
        if Path(path).suffix.lower() == ".json":
            write_json_file(path, self.to_dict())
        else:
            self.plot(path)

    def to_dict(self) -> dict[str, Any]:
        """Image and objects as plain values that JSON can hold.

        Returns:
            path, width, height and objects: of each name, class_id, score, box (x0, y0, x1, y1),
            and what else the model gives.
        """
        height, width = self.size
        content = {"path": self.path, "width": width, "height": height}
        return {**content, **json_content(self, self.size, self.segments)}

    def to_coco(self, image_id: int | str = 0) -> list[dict[str, Any]]:
        """The objects as COCO results.

        Returns:
            For each object image_id, category_id (the model's class number), category_name, bbox
            (x, y, width, height; of rotated boxes all five numbers), score, and maybe segmentation
            (run-length code), keypoints and track_id.
        """
        return coco_results(self, self.size, image_id)

    def to_supervision(self) -> Any:
        """The objects as `supervision.Detections`, for its annotators and other tools.

        Raises:
            MissingPackageError: if supervision is not installed.
        """
        return supervision_detections(list(self), self.size)
