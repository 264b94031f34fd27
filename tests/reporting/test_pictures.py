"""Pictures of the report: of boxes, rotated boxes, masks and keypoints."""

import base64
import math
import re

import cv2
import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from d2lite.evaluation.rotated_coco_evaluation import RotatedCOCOeval
from d2lite.reporting.analysis import analyze
from d2lite.reporting.evaluated_set import EvaluatedSet
from d2lite.reporting.page import report_page
from d2lite.reporting.pictures import image_pair, write_error_crops

from .sets import BOX, FAR, truth_and_results

POLYGON = [20, 20, 60, 20, 60, 60, 20, 60]
POINTS = [30, 30, 2, 50, 50, 2]


def analysis_of(task):
    """One object that is found, and one false alarm."""
    truth, results = truth_and_results(
        [(1, "cat", BOX)], [(1, "cat", BOX, 0.9), (1, "dog", FAR, 0.95)]
    )
    options = {"evaluation_type": COCOeval}
    if task == "rotated":
        truth["annotations"][0]["bbox"] = [40, 40, 40, 20, 30]
        results[0]["bbox"], results[1]["bbox"] = [40, 40, 40, 20, 30], [140, 140, 40, 20, 0]
        options["evaluation_type"] = RotatedCOCOeval
    if task in ("segm", "keypoints"):
        key, value = ("segmentation", [POLYGON]) if task == "segm" else ("keypoints", POINTS)
        truth["annotations"][0][key] = value
        if task == "segm":
            runs = [20 * 200 + 20, *[40, 160] * 39, 40]
            value = {"size": [200, 200], "counts": [*runs, 200 * 200 - sum(runs)]}
        for result in results:
            result[key] = value
        options |= {"kpt_oks_sigmas": [0.05, 0.05]} if task == "keypoints" else {}
    return truth, analyze(
        truth, results, "bbox" if task == "rotated" else task, num_resamples=0, **options
    )


@pytest.mark.parametrize("task", ["bbox", "rotated", "segm", "keypoints"])
def test_each_task_is_drawn_and_has_a_page(task, tmp_path):
    truth, analysis = analysis_of(task)
    assert analysis.images[0].num_right == 1

    def read(image_id):
        return np.full((200, 200, 3), 120, np.uint8) if image_id == 1 else None

    pair = image_pair(analysis, analysis.images[0], read)
    truth_picture, prediction = (_decoded(address) for address in pair[1:])
    assert truth_picture.shape == prediction.shape == (520, 520, 3)
    # Blue stands for right and red for wrong; green for found.
    assert _has_color(truth_picture, [82, 153, 26])
    assert _has_color(prediction, [204, 115, 26])
    assert image_pair(analysis, analysis.images[1], read) is None
    page = report_page("One", EvaluatedSet("set", truth, [analysis], {1: "a/b.jpg"}), None)
    assert "<h1>One</h1>" in page
    crops = list(write_error_crops(analysis, read, tmp_path))
    wrong = analysis.curve.wrong[analysis.curve.at(analysis.threshold)]
    assert len(crops) == wrong
    assert all(math.isclose(max(cv2.imread(str(p)).shape), 320, abs_tol=2) for p in crops)


def test_more_classes_than_fit_a_matrix_are_listed():
    truth, results = truth_and_results(
        [(1, "cat", BOX), (2, "cat", BOX)], [(1, "dog", BOX, 0.9), (2, "cat", BOX, 0.9)]
    )
    truth["categories"] += [{"id": k, "name": f"class {k}"} for k in range(3, 34)]
    analysis = analyze(truth, results, "bbox", num_resamples=0)
    page = report_page("Many", EvaluatedSet("set", truth, [analysis], {}), None)
    assert "<span>Most frequent confusions of two classes</span>" in page
    assert re.search(r'<th scope="row">cat</th>\s*<td>dog</td>\s*<td[^>]*>1</td>', page)
    assert 'class="confusion"' not in page


def _decoded(address):
    data = base64.b64decode(address.partition(",")[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def _has_color(picture, bgr):
    return bool((np.abs(picture.astype(int) - bgr).max(axis=2) < 30).any())
