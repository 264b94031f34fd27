"""Dataset dicts of people's own functions: numbers of numpy, missing ids and sizes, other masks."""

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.data import DatasetCatalog, DatasetMapper, MetadataCatalog, get_detection_dataset_dicts
from d2lite.data.records.faults import FaultLog, collecting_faults
from d2lite.data.records.plain_records import load_records
from d2lite.data.records.set_checks import count_set_faults, keep_maskable
from d2lite.structures import BoxMode
from d2lite.utils.errors import ConfigError, DataError
from tests.data.spec_files import detections

SQUARE = [2.0, 2.0, 8.0, 2.0, 8.0, 8.0, 2.0, 8.0]
MASK = np.zeros((10, 20), dtype=bool)
MASK[2:8, 2:8] = True


@pytest.fixture
def register(tmp_path):
    """Register records of one image with one object, changed, and give the name."""
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")

    def with_changes(image=(), obj=(), without=()):
        one = {"bbox": [2, 2, 8, 8], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, **dict(obj)}
        record = {"file_name": str(tmp_path / "a.png"), "image_id": 7, "height": 10, "width": 20,
                  "annotations": [one], **dict(image)}  # fmt: skip
        for key in without:
            record.pop(key, None)
            one.pop(key, None)
        records = [record]
        DatasetCatalog.register("own", lambda: records)
        MetadataCatalog.get("own").set(thing_classes=["ant"], evaluator_type="coco")
        return "own"

    yield with_changes
    DatasetCatalog.pop("own", None)
    MetadataCatalog.pop("own", None)


def mapped(records):
    mapper = DatasetMapper(
        True, augmentations=[], image_format="RGB", use_instance_mask=True,
        instance_mask_format="bitmask",
    )  # fmt: skip
    return [mapper(record)["instances"] for record in records]


@pytest.mark.parametrize("changes", [
    {"image": {"image_id": np.int64(7), "height": np.int32(10), "width": np.int64(20)}},
    {"image": {"image_id": torch.tensor(7), "height": "10", "width": 20.0}},
    {"without": ["height", "width"]}, {"image": {"height": -1}},
    {"obj": {"category_id": np.int64(0), "iscrowd": np.int64(0)}},
    {"obj": {"category_id": "0", "iscrowd": None}},
    {"obj": {"bbox": np.array([2, 2, 8, 8], np.float32)}},
    {"obj": {"bbox": torch.tensor([2, 2, 8, 8])}}, {"obj": {"bbox": ("2", "2", "8", "8")}},
    {"obj": {"bbox_mode": 0}}, {"obj": {"segmentation": None}}, {"without": ["bbox"]},
    {"obj": {"segmentation": MASK}}, {"obj": {"segmentation": MASK[..., None] * np.uint8(255)}},
    {"obj": {"segmentation": torch.from_numpy(MASK)}},
    {"obj": {"segmentation": np.array(SQUARE).reshape(-1, 2)}},
    {"obj": {"segmentation": [np.array(SQUARE, np.float32)]}},
])  # fmt: skip
def test_numbers_arrays_and_masks_of_any_kind_train_and_are_scored(register, changes, tmp_path):
    from d2lite.evaluation import COCOEvaluator

    changes = {**changes, "obj": {"segmentation": [SQUARE], **changes.get("obj", {})}}
    name = register(**changes)
    records = get_detection_dataset_dicts(name, max_bad_share=0.0)
    (instances,) = mapped(records) if "segmentation" in records[0]["annotations"][0] else [None]
    if instances is not None:
        assert instances.gt_masks.tensor[0].numpy().tolist() == MASK.tolist()
    evaluator = COCOEvaluator(name, output_dir=tmp_path / "out")
    (record,) = get_detection_dataset_dicts(name, filter_empty=False)
    evaluator.process(*detections(record["image_id"], [0]))
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize("answer", [None, 5, ({} for _ in range(3))])
def test_function_that_gives_no_list_is_told(answer):
    """`return` is forgotten more often than one thinks."""
    DatasetCatalog.register("own_odd", lambda: answer)
    try:
        with pytest.raises(TypeError, match=rf"'own_odd' returned {type(answer).__name__}; expect"):
            get_detection_dataset_dicts("own_odd")
    finally:
        DatasetCatalog.remove("own_odd")


def test_images_without_ids_are_numbered(register):
    assert load_records(register(without=["image_id"]))[0]["image_id"] == 0


def test_ids_of_some_images_only_are_refused(register):
    register()
    records = DatasetCatalog.get("own")
    records.append({**records[0], "image_id": None})
    with pytest.raises(DataError, match="1 of 2 images of dataset 'own' have no 'image_id'"):
        load_records("own")


def test_usual_records_are_not_copied(register):
    register(obj={"segmentation": [SQUARE]})
    assert load_records("own")[0] is DatasetCatalog.get("own")[0]


@pytest.mark.parametrize(("changes", "message"), [
    ({"image": {"image_id": [1]}}, r"image_id \[1\]"),
    ({"image": {"file_name": 5}}, "has file_name 5"),
    ({"image": {"annotations": 5}}, "'annotations' of type int"),
    ({"image": {"annotations": [[]]}}, "list in place of a dict"),
    ({"obj": {"category_id": -1}}, "category_id -1 is not a class number"),
    ({"without": ["category_id"]}, "no 'category_id'"),
    ({"without": ["bbox_mode"]}, "no 'bbox_mode'"),
    ({"obj": {"bbox": [1, 2, 3]}}, "a box of 3 numbers"),
    ({"obj": {"bbox_mode": BoxMode.XYWHA_ABS}}, "a box of 4 numbers with the bbox_mode"),
    ({"obj": {"keypoints": [1, 2]}}, "keypoints of 2 numbers"),
    ({"obj": {"segmentation": np.zeros((3, 4, 5))}}, "in place of a mask"),
])  # fmt: skip
def test_what_cannot_be_understood_is_refused_before_training(register, changes, message):
    with pytest.raises(DataError, match=message):
        load_records(register(**changes))


def test_objects_that_cannot_be_understood_are_counted_where_somebody_counts(register):
    register(obj={"bbox": "wide"})
    with collecting_faults() as faults:
        assert load_records("own")[0]["annotations"] == []
    assert faults.counts == {"malformed": 1}


def boxes(*masks, **more):
    """A record with an object for each mask; None is an object without."""
    objects = [{"bbox": [i], **more, **({} if m is None else {"segmentation": m})}
               for i, m in enumerate(masks)]  # fmt: skip
    return {"file_name": "a", "annotations": objects}


def test_objects_without_masks_are_left_out_and_counted_for_a_model_with_masks(caplog):
    crowd = {"iscrowd": 1, "bbox": ["crowd"]}
    record = boxes([SQUARE], None)
    record["annotations"].append(crowd)
    ((kept,),) = keep_maskable([[record]], ["own"], "polygon")
    assert kept["annotations"] == [record["annotations"][0], crowd]
    assert "1 of 2 objects are without a mask, for instance a, box [1]" in caplog.text


def test_sets_that_a_model_with_masks_cannot_use_are_refused():
    with pytest.raises(DataError, match=r"None of the 2 objects of own has a mask.*MASK_ON False"):
        keep_maskable([[boxes(None, None)]], ["own"], "bitmask")
    with pytest.raises(ConfigError, match=r"1 of 2 objects of own .* Set INPUT\.MASK_FORMAT"):
        keep_maskable([[boxes([SQUARE], MASK)]], ["own"], "polygon")
    whole = [[boxes([SQUARE], MASK)]]
    assert keep_maskable(whole, ["own"], "bitmask") is whole


def test_images_of_crowd_regions_alone_are_counted():
    faults = FaultLog()
    count_set_faults([boxes(None, iscrowd=1), boxes([SQUARE], None)], faults)
    assert dict(faults.counts) == {"crowd_only": 1, "partly_masked": 1}
    assert not faults.has_faults
    count_set_faults([boxes(None, iscrowd=1)], faults)
    assert faults.counts["no_objects"] == 1
    assert faults.has_faults
