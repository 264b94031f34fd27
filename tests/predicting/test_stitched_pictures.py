"""How much tiles cost, measured: pictures stitched to a large one, against picture by picture."""

from pathlib import Path

import numpy as np
import pytest

import d2lite
from d2lite.data import DatasetCatalog
from d2lite.data.images.image_io import read_image
from d2lite.predicting import Predictor, Result
from d2lite.structures import BoxMode

SIDE, ROWS = 128, 6


def stitched() -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
    """A picture of 6 x 6 drawn scenes, cut to 128 pixels, and its objects: class and box."""
    records = DatasetCatalog.get("shapes_val")[: ROWS * ROWS]
    canvas = np.zeros((SIDE * ROWS, SIDE * ROWS, 3), np.uint8)
    truth = []
    for number, record in enumerate(records):
        y, x = (SIDE * place for place in divmod(number, ROWS))
        canvas[y : y + SIDE, x : x + SIDE] = read_image(record["file_name"], "BGR")[:SIDE, :SIDE]
        for obj in record["annotations"]:
            box = BoxMode.convert(list(obj["bbox"]), obj["bbox_mode"], BoxMode.XYXY_ABS)
            inside = np.clip(box, 0, SIDE)
            area = np.prod(np.subtract(box[2:], box[:2]))
            # Of an object that the cut removes most of, nothing can be expected.
            if np.prod(inside[2:] - inside[:2]) > 0.5 * area:
                truth.append((obj["category_id"], inside + np.array([x, y, x, y])))
    return canvas, truth


def scores(results: list[tuple[int, np.ndarray]], truth: list) -> tuple[float, float, float]:
    """Recall and precision at IoU 0.5, and the share of objects that were found twice or more."""
    hits = np.zeros(len(truth), int)
    for label, box in results:
        ious = [iou(box, other) if label == known else 0 for known, other in truth]
        if max(ious) >= 0.5:
            hits[int(np.argmax(ious))] += 1
    recall, correct = (hits > 0).mean(), (hits > 0).sum()
    return float(recall), correct / max(len(results), 1), float((hits > 1).mean())


def iou(a: np.ndarray, b: np.ndarray) -> float:
    both = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def listed(result: Result, x: int = 0, y: int = 0) -> list[tuple[int, np.ndarray]]:
    return [(one.class_id, np.add(one.box, [x, y, x, y])) for one in result]


def measure(model: Path | str) -> dict[str, tuple[float, float, float]]:
    """Scores of each way to predict the stitched picture."""
    canvas, truth = stitched()
    predictor = Predictor(model, threshold=0.5)
    single = []
    for y in range(0, SIDE * ROWS, SIDE):
        for x in range(0, SIDE * ROWS, SIDE):
            part = np.ascontiguousarray(canvas[y : y + SIDE, x : x + SIDE])
            single += listed(predictor(part), x, y)
    ways = {"picture by picture": single}
    for side, overlap in ((128, 0.3), (160, 0.3), (160, 0.5)):
        found = predictor(canvas, tiles=side, overlap=overlap)
        ways[f"tiles of {side}, overlap {overlap}"] = listed(found)
    ways["whole picture"] = listed(predictor(canvas))
    return {way: scores(found, truth) for way, found in ways.items()}


@pytest.mark.slow
def test_tiles_find_what_single_pictures_show(tmp_path):
    """Prints the table of docs/predicting.md; the training takes some minutes."""
    model = d2lite.Model("quick_start", options={"OUTPUT_DIR": str(tmp_path)})
    model.train(options={"DATALOADER.NUM_WORKERS": 0, "TEST.EVAL_PERIOD": 0})
    table = measure(tmp_path / "model_final.pth")
    for way, (recall, precision, twice) in table.items():
        print(f"{way:30} recall {recall:.3f} precision {precision:.3f} twice {twice:.3f}")
    best = table.pop("picture by picture")
    assert table.pop("whole picture")[0] < 0.5 * best[0]
    for recall, precision, twice in table.values():
        assert recall > best[0] - 0.05
        # Tiles show parts of up to six scenes, which no picture of the training does.
        assert precision > best[1] - 0.2
        assert twice <= best[2] + 0.01
