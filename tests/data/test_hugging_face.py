"""Datasets of Hugging Face: tables with images inside, folders, streams, loaded objects."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.by_string.hugging_face import register_hugging_face
from d2lite.data.images.image_io import read_image
from d2lite.data.records.faults import collecting_faults
from d2lite.structures import BoxMode
from d2lite.structures.masks import rle
from d2lite.utils.errors import ConfigError, DataError, MissingFileError, MissingPackageError
from tests.data.spec_files import labels_of

datasets = pytest.importorskip("datasets")

pytestmark = [
    pytest.mark.usefixtures("own_folders"),
    # The package leaves files open.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]
NAMES = ["owl", "cat"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("D2LITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    return tmp_path / "cache"


def picture(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((10, 20, 3), value, np.uint8)).save(stream, format="PNG")
    return {"bytes": stream.getvalue(), "path": f"{value}.png"}


def table(kind="lists", boxes=((2, 2, 6, 5), (1, 1, 18, 8))):
    """Two images: two objects in the first, none in the second."""
    label = datasets.ClassLabel(names=NAMES)
    if kind == "lists":
        objects = [{"bbox": list(boxes), "category": [1, 0]}, {"bbox": [], "category": []}]
        number = datasets.List(datasets.Value("float32"))
        feature = {"bbox": datasets.List(number), "category": datasets.List(label)}
    else:
        objects = [[{"bbox": b, "label": i} for b, i in zip(boxes, (1, 0), strict=True)], []]
        number = datasets.List(datasets.Value("float32"))
        feature = datasets.List({"bbox": number, "label": label})
    features = datasets.Features({"image": datasets.Image(), "objects": feature})
    content = {"image": [picture(10), picture(200)], "objects": objects}
    return datasets.Dataset.from_dict(content, features=features)


def check(name):
    assert labels_of(name) == [["cat", "owl"], []]
    assert MetadataCatalog.get(name).thing_classes == NAMES
    first, second = DatasetCatalog.get(name)
    obj = first["annotations"][0]
    assert BoxMode.convert(obj["bbox"], obj["bbox_mode"], BoxMode.XYXY_ABS) == [2, 2, 8, 7]
    assert (first["height"], first["width"]) == (10, 20)
    assert [read_image(r["file_name"], "RGB").max() for r in (first, second)] == [10, 200]


def test_masks_and_keypoints_are_read_where_the_objects_have_them(tmp_path):
    """Polygons, run-length codes and pictures; keypoints as x, y and visibility of each."""
    pixels = np.zeros((10, 20), np.uint8)
    pixels[2:7, 2:8] = 255
    masks = {
        "segmentation": [[2.0, 2.0, 8.0, 2.0, 8.0, 7.0, 2.0, 7.0]],
        "mask": Image.fromarray(pixels),
    }
    for key, mask in masks.items():
        objects = {"bbox": [[2, 2, 6, 5]], "category": ["cat"], key: [mask]}
        objects["keypoints"] = [[3.0, 4.0, 2.0, 0.0, 0.0, 0.0]]
        row = {"image": Image.new("RGB", (20, 10)), "objects": objects}
        register_hugging_face(f"hf {key}", datasets.Dataset.from_list([row]))
        [obj] = DatasetCatalog.get(f"hf {key}")[0]["annotations"]
        assert obj["keypoints"] == [3, 4, 2, 0, 0, 0]
        found = obj["segmentation"]
        drawn = rle.from_polygons(found, 10, 20) if isinstance(found, list) else found
        np.testing.assert_array_equal(rle.decode(drawn), pixels > 0)
        assert MetadataCatalog.get(f"hf {key}").keypoint_names == ["point 0", "point 1"]


@pytest.mark.parametrize("kind", ["lists", "dicts"])
def test_parquet_files_are_read_by_their_split(tmp_path, kind):
    folder = tmp_path / "work/d/data"
    folder.mkdir(parents=True)
    table(kind).to_parquet(folder / "train-00000-of-00001.parquet")
    table(kind).to_parquet(folder / "validation-00000-of-00001.parquet")
    for name in ("hf:d", "hf:d@val", "auto:d@train", "auto:d@val"):
        check(name)
    with pytest.raises(ConfigError, match="no split 'test'; it has train, validation"):
        DatasetCatalog.get("hf:d@test")
    with pytest.raises(ConfigError, match=r"boxes='x' is not xywh \(left"):
        DatasetCatalog.get("hf:d?boxes=x")


def test_what_save_to_disk_wrote_is_read(tmp_path):
    table().save_to_disk(tmp_path / "work/one")
    datasets.DatasetDict({"train": table(), "test": table()}).save_to_disk(tmp_path / "work/two")
    check("hf:one")
    check("hf:two@test")


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_loaded_dataset_is_registered_by_code(is_stream):
    rows = table().to_iterable_dataset() if is_stream else table()
    register_hugging_face("hf_rows", rows)
    try:
        check("hf_rows")
        # Other training sets may ask for another order.
        MetadataCatalog.get("hf_rows").replace(thing_classes=["cat", "owl"])
        assert [o["category_id"] for o in DatasetCatalog.get("hf_rows")[0]["annotations"]] == [0, 1]
    finally:
        DatasetCatalog.remove("hf_rows")
        MetadataCatalog.remove("hf_rows")


def test_boxes_of_another_kind_are_not_taken_silently(tmp_path):
    (tmp_path / "work/d").mkdir()
    table(boxes=((12, 2, 18, 7), (1, 1, 19, 9))).to_parquet(tmp_path / "work/d/a.parquet")
    with pytest.raises(DataError, match=r"1 of 2 boxes reach beyond.*\?boxes=xyxy"):
        DatasetCatalog.get("hf:d")
    obj = DatasetCatalog.get("hf:d?boxes=xyxy")[0]["annotations"][0]
    assert obj["bbox"] == [12, 2, 18, 7]


def test_rows_that_cannot_be_read_are_counted(tmp_path):
    rows = [
        {"image": picture(10), "objects": {"bbox": [[1, 1, 5, 5]], "category": ["a"]}},
        {"image": {"bytes": b"x", "path": None}, "objects": {"bbox": [], "category": []}},
        {"image": picture(20), "objects": {"bbox": [[1, 1]], "category": ["a"]}},
    ]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "objects": {
                "bbox": datasets.List(datasets.List(datasets.Value("float32"))),
                "category": datasets.List(datasets.Value("string")),
            },
        }
    )
    made = datasets.Dataset.from_list(rows, features=features)
    (tmp_path / "work/d").mkdir()
    made.to_parquet(tmp_path / "work/d/a.parquet")
    with collecting_faults() as faults:
        records = DatasetCatalog.get("hf:d")
    assert [len(r["annotations"]) for r in records] == [1, 0]
    assert dict(faults.counts) == {"unreadable_image": 1, "malformed": 1}


def test_mistakes_are_reported(tmp_path, monkeypatch):
    # Without a network the hub is asked again for half a minute.
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises((MissingFileError, DataError), match="hf:no/such"):
        DatasetCatalog.get("hf:no/such")
    (tmp_path / "work/d").mkdir()
    table().remove_columns("objects").to_parquet(tmp_path / "work/d/a.parquet")
    with pytest.raises(ConfigError, match="has the columns image; expected 'image', and 'objects'"):
        DatasetCatalog.get("hf:d")
    (tmp_path / "work/d/a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="hf:d cannot be read"):
        DatasetCatalog.get("hf:d@train")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'd2lite\[hf\]'"):
        DatasetCatalog.get("hf:d?classes=x")
