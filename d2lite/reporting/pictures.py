"""Pictures of the report: the truth and the predictions of an image, drawn by what was found."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from d2lite.utils.file_io import write_file
from d2lite.visualization import Visualizer

from .analysis import IOU, Analysis
from .image_ranking import ImageResult
from .matches import NONE, Matches

# Right and wrong by colour and by a word, for those who see few colours.
_FOUND, _MISSED = (0.10, 0.60, 0.32), (0.95, 0.55, 0.05)
_RIGHT, _WRONG = (0.10, 0.45, 0.80), (0.85, 0.13, 0.17)
# Pixels: the longer side of a picture on the page, and of a crop.
_PAGE_SIDE = 520
_CROP_SIDE = 320
_JPEG_QUALITY = 80

ReadImage = Callable[[Any], np.ndarray | None]
"""Image id -> (H, W, 3) uint8 RGB, or None where the file is not there."""


class ImagePair(NamedTuple):
    """One image of the page.

    Attributes:
        result: its counts.
        truth: data address of a JPEG with the objects.
        prediction: the same with the detections.
    """

    result: ImageResult
    truth: str
    prediction: str


def image_pair(analysis: Analysis, result: ImageResult, read_image: ReadImage) -> ImagePair | None:
    """Draw an image twice; None where its file cannot be read."""
    image = read_image(result.image_id)
    if image is None:
        return None
    drawn = (
        _as_address(_draw(analysis.matches, image, _rows(analysis, result.position, is_truth)))
        for is_truth in (True, False)
    )
    return ImagePair(result, *drawn)


class _Row(NamedTuple):
    box: np.ndarray
    shape: Any
    label: str
    color: tuple[float, float, float]


def _rows(analysis: Analysis, position: int, is_truth: bool) -> list[_Row]:
    matches, threshold = analysis.matches, analysis.threshold
    if is_truth:
        found = matches.found_by(IOU, threshold)
        return [
            _truth_row(matches, g, bool(found[g] != NONE))
            for g in np.flatnonzero((matches.gt_image == position) & ~matches.gt_ignored).tolist()
        ]
    right = matches.is_right(IOU)
    chosen = (matches.dt_image == position) & (matches.dt_score >= threshold)
    chosen &= ~matches.dt_ignored[matches.at(IOU)]
    return [_prediction_row(matches, d, bool(right[d])) for d in np.flatnonzero(chosen).tolist()]


def _truth_row(matches: Matches, g: int, is_found: bool) -> _Row:
    name = matches.class_names[matches.gt_class[g]]
    label, color = (name, _FOUND) if is_found else (f"{name} MISSED", _MISSED)
    return _Row(matches.gt_box[g], matches.gt_shape[g], label, color)


def _prediction_row(matches: Matches, d: int, is_right: bool) -> _Row:
    label = f"{matches.class_names[matches.dt_class[d]]} {100 * matches.dt_score[d]:.0f}%"
    color = _RIGHT if is_right else _WRONG
    label = label if is_right else f"{label} WRONG"
    return _Row(matches.dt_box[d], matches.dt_shape[d], label, color)


def _draw(matches: Matches, image: np.ndarray, rows: list[_Row]) -> np.ndarray:
    # Drawn at the size of the page: lines and names that are scaled afterwards blur.
    scale = _PAGE_SIDE / max(image.shape[:2])
    # The page shows two beside each other, so that names would be too small.
    canvas = Visualizer(image, scale=scale, font_size_scale=1.4)
    if not rows:
        return canvas.get_output().get_image()
    boxes = np.array([row.box for row in rows], dtype=np.float64)
    if boxes.shape[1] == 4:
        boxes[:, 2:] += boxes[:, :2]
    shapes = None if matches.task == "bbox" else [row.shape for row in rows]
    canvas.overlay_instances(
        boxes=boxes,
        labels=[row.label for row in rows],
        masks=shapes if matches.task == "segm" else None,
        keypoints=np.array(shapes, dtype=np.float64).reshape(len(rows), -1, 3)
        if matches.task == "keypoints"
        else None,
        assigned_colors=[row.color for row in rows],
        alpha=0.4,
    )
    return canvas.get_output().get_image()


def _as_address(image: np.ndarray) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(_jpeg(image)).decode()


def _jpeg(image: np.ndarray) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]), options)
    return bytes(data.tobytes())


def write_error_crops(analysis: Analysis, read_image: ReadImage, folder: Path) -> Iterator[Path]:
    """Write a crop of each miss and each false alarm, at the threshold of the analysis.

    Args:
        analysis: of the results.
        read_image: reads an image by its id.
        folder: gets misses/CLASS/ and false_alarms/CLASS/.

    Yields:
        The path of each file. Its name begins with the score, so that the surest come last.
    """
    matches, threshold = analysis.matches, analysis.threshold
    is_missed = matches.is_missed(IOU, threshold)
    is_wrong = matches.is_wrong(IOU) & (matches.dt_score >= threshold)
    for position, image_id in enumerate(matches.image_ids):
        missed = np.flatnonzero(is_missed & (matches.gt_image == position)).tolist()
        wrong = np.flatnonzero(is_wrong & (matches.dt_image == position)).tolist()
        image = read_image(image_id) if len(missed) + len(wrong) else None
        if image is None:
            continue
        for g in missed:
            row = _truth_row(matches, g, False)
            name = matches.class_names[matches.gt_class[g]]
            path = folder / "misses" / _file_name(name) / f"{_file_name(str(image_id))}_{g}.jpg"
            yield _write_crop(matches, image, row, path)
        for d in wrong:
            row = _prediction_row(matches, d, False)
            name = matches.class_names[matches.dt_class[d]]
            stem = f"{matches.dt_score[d]:.3f}_{_file_name(str(image_id))}_{d}.jpg"
            yield _write_crop(
                matches, image, row, folder / "false_alarms" / _file_name(name) / stem
            )


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in text)


def _write_crop(matches: Matches, image: np.ndarray, row: _Row, path: Path) -> Path:
    box = row.box
    centre, sides = box[:2] + (box[2:4] / 2 if len(box) == 4 else 0), box[2:4]
    # As much around the object as it is large, so that one sees what is near.
    half = max(float(np.max(sides)), 24.0)
    height, width = image.shape[:2]
    x0, y0 = (int(max(c - half, 0)) for c in centre)
    x1 = int(min(max(centre[0] + half, x0 + 1), width))
    y1 = int(min(max(centre[1] + half, y0 + 1), height))
    x0, y0 = min(x0, x1 - 1), min(y0, y1 - 1)
    side = max(x1 - x0, y1 - y0)
    canvas = Visualizer(image[y0:y1, x0:x1], scale=_CROP_SIDE / side)
    moved = box.copy()
    moved[:2] -= (x0, y0)
    if len(box) == 4:
        moved[2:] += moved[:2]
    canvas.overlay_instances(boxes=moved[None], labels=[row.label], assigned_colors=[row.color])
    write_file(path, _jpeg(canvas.get_output().get_image()))
    return path
