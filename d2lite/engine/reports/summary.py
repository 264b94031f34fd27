"""The end of a run: a picture of predictions beside the truth, and the paths of its files."""

import logging
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from d2lite.config import CfgNode
from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.catalog import dataset_file_stem
from d2lite.data.images.image_io import read_image
from d2lite.data.rotated_boxes import rotated_box
from d2lite.evaluation import inference_context
from d2lite.structures import BoxMode, Instances, RotatedBoxes
from d2lite.utils.file_io import write_file
from d2lite.utils.logger import create_small_table, log_file_path
from d2lite.visualization import Visualizer

logger = logging.getLogger(__name__)

_NUM_IMAGES = 6
_MIN_SCORE = 0.5
# Pixels: the width of one image in the picture, the gap around it, and the caption above.
_TILE_WIDTH = 480
_GAP = 8
_CAPTION = 28
_CELLS_A_ROW = 2


def log_summary(
    cfg: CfgNode,
    results: Mapping[str, Any] | None,
    *,
    headline: str,
    weights: str,
    pictures: Iterable[Path],
    report: Path | None = None,
) -> None:
    """Log the closing block of a finished run: results, files, and the commands to go on with.

    Args:
        cfg: the config of the run.
        results: what the last evaluation found.
        headline: the first line.
        weights: path of the last checkpoint.
        pictures: of predictions, as `save_pictures` gives them.
        report: of the run; None if there is none.
    """
    output_dir = Path(cfg.OUTPUT_DIR)
    lines = [headline]
    lines += [f"{name}:\n{table}" for name, table in _result_tables(results)]
    lines.append(f"  weights       {weights}")
    log = log_file_path()
    if log is not None and log.parent == output_dir.resolve():
        log = output_dir / log.name
    lines.append(f"  log           {log or 'not written (no setup_logger)'}")
    lines.append(f"  metrics       {output_dir / 'metrics.json'}")
    lines += [f"  predictions   {picture}" for picture in pictures]
    if report is not None:
        lines.append(f"  report        {report}")
    run = shlex.quote(str(output_dir))
    lines.append(f"  evaluate again:  d2lite eval {run}")
    lines.append(f"  try on images:   d2lite predict {run} IMAGE ...")
    logger.info("\n".join(lines))


def _result_tables(results: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Lay out the totals; the log already has the lines of single classes."""
    for name, values in (results or {}).items():
        if not isinstance(values, Mapping):
            continue
        totals = {
            metric: value
            for metric, value in values.items()
            if isinstance(value, (int, float)) and "-" not in metric
        }
        if totals:
            yield name, create_small_table(totals)
        else:
            for task, table in _result_tables(values):
                yield f"{name}, {task}", table


def save_pictures(
    cfg: CfgNode, model: nn.Module, build_test_loader: Callable[[CfgNode, str], Any]
) -> Iterator[Path]:
    """Draw predictions on each evaluation set; a failure costs a warning, not the run.

    Args:
        cfg: DATASETS.TEST and OUTPUT_DIR are read.
        model: the trained model.
        build_test_loader: makes the loader of a set.

    Yields:
        The path of each picture.
    """
    for name in cfg.DATASETS.TEST:
        # A name may be a dataset string, with slashes in it.
        file_name = f"predictions_{dataset_file_stem(name)}.jpg"
        target = Path(cfg.OUTPUT_DIR) / "inference" / file_name
        try:
            picture = draw_predictions(model, build_test_loader(cfg, name), name)
            if picture is None:
                logger.info(f"No picture of predictions on {name}: the model gives no instances")
                continue
            _save_jpeg(picture, target)
        except Exception as error:
            # Broad on purpose: it may run through a user's loader, model and drawing.
            logger.warning(f"No picture of predictions on {name}: {type(error).__name__}: {error}")
            logger.debug("The trace of it", exc_info=True, extra={"hidden_on_console": True})
            continue
        yield target


def draw_predictions(
    model: nn.Module,
    data_loader: Any,
    dataset_name: str,
) -> np.ndarray | None:
    """Draw ground truth (left) beside predictions (right) for images spread over a set.

    Args:
        model: its mode is put back afterwards.
        data_loader: an evaluation loader; samples come from its `dataset`.
        dataset_name: where annotations and class names are looked up.

    Returns:
        (H, W, 3) uint8 RGB; None if the model gives no instances.
    """
    metadata = MetadataCatalog.get(dataset_name)
    truth = {record["file_name"]: record for record in DatasetCatalog.get(dataset_name)}
    samples = data_loader.dataset
    count = min(_NUM_IMAGES, len(samples))
    chosen = np.linspace(0, len(samples) - 1, count).round().astype(int)
    pairs = []
    with inference_context(model), torch.no_grad():
        for index in chosen.tolist():
            sample = samples[index]
            output = model([sample])[0]
            if "instances" not in output:
                return None
            image = read_image(sample["file_name"], "RGB")
            found = output["instances"].to("cpu")
            if found.has("scores"):
                found = found[found.scores >= _MIN_SCORE]
            record = _comparable(truth[sample["file_name"]], found)
            # Drawn at the size of a tile: lines and names enlarged afterwards would blur.
            scale = _TILE_WIDTH / image.shape[1]
            left = Visualizer(image, metadata, scale).draw_dataset_dict(record)
            right = Visualizer(image, metadata, scale).draw_instance_predictions(found)
            pairs.append((left.get_image(), right.get_image()))
    if not pairs:
        return None
    return _compose(pairs, f"predictions (score >= {_MIN_SCORE:g})")


def _comparable(record: dict[str, Any], found: Instances) -> dict[str, Any]:
    """An image's annotations as the model predicts them: rotated boxes, no more than it has."""
    unwanted = set()
    if not found.has("pred_keypoints"):
        unwanted.add("keypoints")
    if not found.has("pred_masks"):
        unwanted.add("segmentation")
    annotations = list(record.get("annotations", ()))
    if found.has("pred_boxes") and isinstance(found.pred_boxes, RotatedBoxes):
        mode = BoxMode.XYWHA_ABS
        annotations = [
            {**one, "bbox": rotated_box(one).tolist(), "bbox_mode": mode} for one in annotations
        ]
    annotations = [
        {key: value for key, value in annotation.items() if key not in unwanted}
        for annotation in annotations
    ]
    kept = {key: value for key, value in record.items() if not key.startswith(("sem_", "pan_"))}
    return {**kept, "annotations": annotations}


def _compose(pairs: list[tuple[np.ndarray, np.ndarray]], caption: str) -> np.ndarray:
    """Lay pairs of images out in a grid of two pairs a row, each under its captions."""
    cells = [
        np.hstack([_captioned(left, "ground truth"), _captioned(right, caption)])
        for left, right in pairs
    ]
    rows = []
    for start in range(0, len(cells), _CELLS_A_ROW):
        row = cells[start : start + _CELLS_A_ROW]
        height = max(cell.shape[0] for cell in row)
        rows.append(np.hstack([_padded(cell, height) for cell in row]))
    width = max(row.shape[1] for row in rows)
    return np.vstack([_padded(row, row.shape[0], width) for row in rows])


def _captioned(image: np.ndarray, caption: str) -> np.ndarray:
    height = max(round(image.shape[0] * _TILE_WIDTH / image.shape[1]), 1)
    is_smaller = image.shape[1] > _TILE_WIDTH
    method = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
    tile = cv2.resize(np.ascontiguousarray(image), (_TILE_WIDTH, height), interpolation=method)
    canvas = np.full((height + _CAPTION + _GAP, _TILE_WIDTH + 2 * _GAP, 3), 255, np.uint8)
    canvas[_CAPTION : _CAPTION + height, _GAP : _GAP + _TILE_WIDTH] = tile
    place = (_GAP, _CAPTION - 9)
    cv2.putText(canvas, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas


def _padded(image: np.ndarray, height: int, width: int | None = None) -> np.ndarray:
    below = height - image.shape[0]
    right = 0 if width is None else width - image.shape[1]
    return np.pad(image, ((0, below), (0, right), (0, 0)), constant_values=255)


def _save_jpeg(image: np.ndarray, path: Path) -> None:
    is_encoded, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not is_encoded:
        raise ValueError(f"OpenCV could not encode a picture of shape {image.shape}")
    write_file(path, data.tobytes())
