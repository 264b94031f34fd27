"""The built-in images' maps of every pixel."""

import numpy as np
import pytest
from pycocotools import mask as mask_util

from d2lite.config import get_cfg
from d2lite.data import DatasetCatalog, DatasetMapper
from d2lite.data.datasets.coco_panoptic import rgb_to_segment_ids
from d2lite.data.images.image_io import read_image
from d2lite.utils.errors import MissingFileError

# pycocotools 2 meets numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize("split", ["train", "val"])
def test_maps_of_segments_hold_what_the_dicts_list(split):
    for record in DatasetCatalog.get(f"shapes_{split}_panoptic")[:40]:
        ids = rgb_to_segment_ids(read_image(record["pan_seg_file_name"]))
        assert ids.shape == (record["height"], record["width"])
        assert np.unique(ids).tolist() == [s["id"] for s in record["segments_info"]]
        things = {s["id"] for s in record["segments_info"] if s["isthing"]}
        labels = read_image(record["sem_seg_file_name"])
        np.testing.assert_array_equal(labels == 0, np.isin(ids, list(things)))


def test_segments_of_things_are_the_masks_of_the_objects():
    for record in DatasetCatalog.get("shapes_val_panoptic")[:10]:
        ids = rgb_to_segment_ids(read_image(record["pan_seg_file_name"]))
        for number, obj in enumerate(record["annotations"], start=1):
            codes = mask_util.frPyObjects(obj["segmentation"], *ids.shape)
            drawn = mask_util.decode(mask_util.merge(codes)) > 0
            both, either = (drawn & (ids == number)).sum(), (drawn | (ids == number)).sum()
            assert both / either > 0.85


def test_an_unknown_map_is_told():
    with pytest.raises(MissingFileError, match="val/3/depth"):
        read_image("shapes://val/3/depth")


def test_training_samples_of_the_panoptic_set_have_maps_and_objects():
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = True
    record = DatasetCatalog.get("shapes_train_panoptic")[3]
    sample = DatasetMapper(cfg, is_train=True)(record)
    assert sample["sem_seg"].shape == sample["image"].shape[1:]
    assert set(sample["sem_seg"].unique().tolist()) <= {0, 1}
    assert len(sample["instances"]) > 0
