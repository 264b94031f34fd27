"""Sets of LVIS and Pascal VOC in the form in which COCO's scorer gives their matches."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import cocoeval

from d2lite.data.datasets.coco_export import coco_dict
from d2lite.data.records.plain_records import load_records

LVIS_MAX_DETS = (1, 10, 300)
VOC_NOTE = (
    "The AP of the results table is Pascal VOC's; matches, and all numbers made from them, are "
    "COCO's here: boxes without the extra pixel, 101 points of recall."
)


class FederatedCOCOeval(cocoeval.COCOeval):  # type: ignore[misc] # it has no types
    """COCO's matching of sets in which not every object of a class is labelled in each image.

    A detection of such a class that finds no object counts neither as right nor as wrong. Results
    of classes that were not looked for in an image are to be left out before; see
    `results_that_count`.

    Source: Gupta 2019, arXiv:1908.03195, section 2.
    """

    def evaluateImg(self, imgId: Any, catId: Any, aRng: Any, maxDet: int) -> Any:  # noqa: N802, N803
        """One image and class; see pycocotools."""
        found = super().evaluateImg(imgId, catId, aRng, maxDet)
        incomplete = self.cocoGt.imgs[imgId].get("not_exhaustive_category_ids", ())
        if found is not None and catId in incomplete:
            found["dtIgnore"] = np.logical_or(found["dtIgnore"], found["dtMatches"] == 0)
        return found


def is_federated(truth: Mapping[str, Any]) -> bool:
    """Whether a COCO dict is of LVIS: its images say which classes were looked for."""
    return any("neg_category_ids" in image for image in truth["images"])


def results_that_count(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The results that LVIS scores.

    Returns:
        Of each image the best 300, and of these the ones whose class was looked for there: it has
        an object, or is in `neg_category_ids`.
    """
    looked_for = {image["id"]: set(image.get("neg_category_ids", ())) for image in truth["images"]}
    for obj in truth["annotations"]:
        looked_for[obj["image_id"]].add(obj["category_id"])
    of_image = defaultdict(list)
    for result in results:
        of_image[result["image_id"]].append(result)
    best = (
        sorted(found, key=lambda result: -result["score"])[: LVIS_MAX_DETS[-1]]
        for found in of_image.values()
    )
    return [r for found in best for r in found if r["category_id"] in looked_for[r["image_id"]]]


def voc_ground_truth(name: str) -> dict[str, Any]:
    """COCO dict of a VOC set; objects marked difficult are crowds, which nobody has to find."""
    records = [
        {
            **record,
            "annotations": [
                {**obj, "iscrowd": int(obj.get("difficult", 0))} for obj in record["annotations"]
            ],
        }
        for record in load_records(name)
    ]
    return coco_dict(name, records)
