"""Maps of classes beside images, named by a string."""

import json
import zlib

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.images.class_map_files import read_class_map
from d2lite.data.records.faults import collecting_faults
from d2lite.recipes.facts import gather_facts
from d2lite.utils.errors import ConfigError, DataError
from tests.data.spec_files import picture, write

pytestmark = pytest.mark.usefixtures("own_folders")

CLASSES = ["background", "cat", "dog"]
LABELS = np.zeros((10, 20), np.uint8)
LABELS[2:5, 3:9] = 1
LABELS[6:9, 12:18] = 2
BORDERED = np.where(np.arange(10)[:, None] == 0, np.uint8(255), LABELS)
RED, GREEN = (128, 0, 0), (0, 128, 0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("D2LITE_CACHE", str(tmp_path / "cache"))


def coloured(cat=RED, dog=GREEN):
    return np.array([(0, 0, 0), cat, dog], np.uint8)[LABELS]


def pair(image, labels, values):
    picture(image)
    labels.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(labels)


def maps(string):
    """Image -> its map of classes."""
    metadata = MetadataCatalog.get(string)
    assert (metadata.evaluator_type, metadata.ignore_label) == ("sem_seg", 255)
    return {
        record["file_name"].rpartition("work/")[2]: read_class_map(record["sem_seg_file_name"])
        for record in DatasetCatalog.get(string)
    }


def roboflow(home, split):
    pair(home / f"{split}/a.jpg", home / f"{split}/a_mask.png", LABELS)
    write(home / f"{split}/_classes.csv", "Pixel Value, Class\n0, background\n1, cat\n2, dog\n")


def folders(home, split):
    pair(home / f"images/{split}/a.jpg", home / f"masks/{split}/a.png", LABELS)
    write(home / "classes.txt", "background\ncat\ndog\n")


def folders_in_splits(home, split):
    pair(home / f"{split}/images/a.jpg", home / f"{split}/labels/a.png", LABELS)
    meta = {"label_map": dict(enumerate(CLASSES)), "segmentation_colors": None}
    write(home / f"{split}/dataset_meta.json", json.dumps(meta))


def camvid(home, split):
    pair(home / f"{split}/a.jpg", home / f"{split}annot/a.png", coloured())
    write(home / "label_colors.txt", "0 0 0 background\n128 0 0 cat\n0 128 0 dog\n")


def listed(home, split):
    name = f"JPEGImages/{split}/a.jpg"
    pair(home / name, home / f"SegmentationClass/{split}/a.png", coloured((1, 2, 3), (9, 9, 9)))
    write(home / f"ImageSets/Segmentation/{split}.txt", f"{split}/a\n")
    write(home / "labelmap.txt", "background:0,0,0::\ncat:1,2,3::\ndog:9,9,9::\n")


@pytest.mark.parametrize(
    "layout", [roboflow, folders, folders_in_splits, camvid, listed], ids=lambda f: f.__name__
)
def test_layouts_of_many_tools(tmp_path, layout):
    for split in ("train", "val"):
        layout(tmp_path / "work/s", split)
    for string in ("auto:s", "semantic:s@val", "semantic:s?fraction=0.9"):
        found = maps(string)
        assert MetadataCatalog.get(string).stuff_classes == CLASSES
        ((name, labels),) = found.items()
        assert ("val" in name) == ("@val" in string)
        np.testing.assert_array_equal(labels, LABELS)
    with pytest.raises(ConfigError, match="has train, val; name one"):
        DatasetCatalog.get("semantic:s@test")


@pytest.mark.parametrize("values", [
    BORDERED, BORDERED[..., None].repeat(3, axis=2), BORDERED.astype(np.uint16),
], ids=["grey", "three equal channels", "16 bits"])  # fmt: skip
def test_numbers_are_taken_as_they_are(tmp_path, values):
    pair(tmp_path / "work/s/images/a.jpg", tmp_path / "work/s/masks/a.png", values)
    write(tmp_path / "work/s/classes.txt", "background\ncat\ndog\n")
    np.testing.assert_array_equal(maps("auto:s")["s/images/a.jpg"], BORDERED)


def test_maps_in_colours_are_written_once_and_again_when_they_change(tmp_path):
    home = tmp_path / "work/s"
    camvid(home, "train")
    maps("auto:s")
    (kept,) = (tmp_path / "cache/class_maps").iterdir()
    facts = kept.stat()
    maps("auto:s")
    assert kept.stat() == facts
    pair(home / "train/a.jpg", home / "trainannot/a.png", coloured(cat=GREEN))
    labels = maps("auto:s")["s/train/a.jpg"]
    np.testing.assert_array_equal(labels, np.where(LABELS, 2, 0))


def test_supervisely_has_no_colour_for_the_background(tmp_path):
    home = tmp_path / "work/s"
    pair(home / "d/img/a.jpg", home / "d/masks_machine/a.png", coloured((1, 1, 1), (2, 2, 2)))
    write(home / "obj_class_to_machine_color.json", '{"cat": [1, 1, 1], "dog": [2, 2, 2]}')
    np.testing.assert_array_equal(maps("auto:s")["s/d/img/a.jpg"], LABELS)
    assert MetadataCatalog.get("auto:s").stuff_classes == CLASSES


@pytest.mark.parametrize("kind", ["auto", "semantic", "masks"])
def test_maps_without_a_list_of_classes_are_told(tmp_path, kind):
    home = tmp_path / "work/s"
    pair(home / "images/a.jpg", home / "masks/a.png", LABELS)
    if kind == "masks":
        write(home / "classes.txt", "cat\n")
    why = r"semantic:s reads maps" if kind == "masks" else "no list of the classes. Write .*classes"
    with pytest.raises(DataError, match=why):
        DatasetCatalog.get(f"{kind}:s")


@pytest.mark.parametrize(("name", "content"), [
    ("dataset_meta.json", "[1]"),
    ("dataset_meta.json", '{"label_map": ["cat"]}'),
    ("dataset_meta.json", '{"label_map": {"0": "cat"}, "segmentation_colors": 5}'),
    ("obj_class_to_machine_color.json", '{"cat": 5}'),
])  # fmt: skip
def test_lists_of_classes_of_other_content_are_named(tmp_path, name, content):
    pair(tmp_path / "work/s/images/a.jpg", tmp_path / "work/s/masks/a.png", LABELS)
    write(tmp_path / f"work/s/{name}", content)
    for kind in ("auto", "semantic"):
        with pytest.raises(DataError, match=f"{name} has other content than such lists"):
            DatasetCatalog.get(f"{kind}:s")


def test_colour_of_no_class_is_a_fault_that_names_it(tmp_path):
    home = tmp_path / "work/s"
    camvid(home, "train")
    pair(home / "train/b.jpg", home / "trainannot/b.png", coloured(dog=(7, 8, 9)))
    with collecting_faults() as faults:
        assert list(maps("auto:s")) == ["s/train/a.jpg"]
    assert (
        "the colour 7,8,9, which is not a class of" in faults.examples["unreadable_annotations"][0]
    )


def test_map_of_another_size_than_its_image_is_a_fault(tmp_path):
    home = tmp_path / "work/s"
    camvid(home, "train")
    pair(home / "train/b.jpg", home / "trainannot/b.png", coloured().swapaxes(0, 1))
    with collecting_faults() as faults:
        assert list(maps("auto:s")) == ["s/train/a.jpg"]
    assert "b.jpg has 20 x 10 pixels and its map" in faults.examples["size_differs"][0]


def test_folder_around_masks_of_objects_is_not_taken_for_maps_of_classes(tmp_path):
    home = tmp_path / "work/s/x/VOC2012"
    for name in ("SegmentationClass", "SegmentationObject"):
        pair(home / "JPEGImages/a.jpg", home / f"{name}/a.png", LABELS)
    assert len(DatasetCatalog.get("auto:s")[0]["annotations"]) == 2


def test_classes_are_not_chosen_of_maps(tmp_path):
    camvid(tmp_path / "work/s", "train")
    with pytest.raises(ConfigError, match="classes= is for sets of objects"):
        DatasetCatalog.get("auto:s?classes=cat")


def test_a_recipe_for_maps_names_a_model_for_them(tmp_path):
    camvid(tmp_path / "work/s", "train")
    with pytest.raises(DataError, match="semantic_R_50_FPN_1x"):
        gather_facts(["auto:s"], has_test=False)


@pytest.mark.parametrize("list_of", ["classes.txt", "labelmap.txt"])
def test_black_and_white_maps_are_of_two_classes(tmp_path, list_of):
    home = tmp_path / "work/s"
    white = np.where(LABELS == 1, np.uint8(255), np.uint8(0))
    pair(home / "images/a.jpg", home / "masks/a.png", white)
    pair(home / "images/b.jpg", home / "masks/b.png", white[..., None].repeat(3, axis=2))
    colours = "background:0,0,0::\ncat:255,255,255::\n"
    write(home / list_of, colours if "map" in list_of else "background\ncat\n")
    for labels in maps("auto:s").values():
        np.testing.assert_array_equal(labels, LABELS == 1)


def test_255_is_no_class_where_other_maps_have_numbers(tmp_path):
    home = tmp_path / "work/s"
    pair(home / "images/a.jpg", home / "masks/a.png", (LABELS == 1).astype(np.uint8))
    pair(home / "images/b.jpg", home / "masks/b.png", np.where(LABELS == 1, 255, 0).astype("u1"))
    write(home / "classes.txt", "background\ncat\n")
    assert maps("auto:s")["s/images/b.jpg"].max() == 255


def test_white_is_the_second_class_also_where_the_first_maps_are_all_black(home):
    for number in range(14):
        values = np.zeros((10, 20), np.uint8)
        values[2:5, 3:9] = 255 * (number >= 10)
        pair(
            home / f"images/{number:02}.jpg",
            home / f"masks/{number:02}.png",
            values,
        )
    write(home / "classes.txt", "background\ncat\n")
    last = maps("semantic:set")["set/images/13.jpg"]
    assert set(np.unique(last)) == {0, 1}


def test_folders_that_are_no_splits_belong_to_the_whole(home):
    for name in ("1", "more/2"):
        pair(home / f"images/{name}.jpg", home / f"masks/{name}.png", LABELS)
    write(home / "classes.txt", "background\ncat\ndog\n")
    assert sorted(maps("semantic:set")) == ["set/images/1.jpg", "set/images/more/2.jpg"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("_classes.csv", "Pixel Value,Class\n0,background\n1,cat\n3,dog\n"),
        ("_classes.csv", "0,background\n3,dog\n1,cat\n"),
        ("dataset_meta.json", '{"label_map": {"1": "cat", "3": "dog"}}'),
    ],
)
def test_classes_have_the_numbers_that_their_list_says(home, name, text):
    pair(home / "images/a.jpg", home / "masks/a.png", LABELS)
    write(home / f"{name}", text)
    names = MetadataCatalog.get("semantic:set").stuff_classes
    assert [names[i] for i in (0, 1, 3)] == CLASSES


def test_a_map_that_claims_billions_of_pixels_is_left_out_and_the_others_stay(home):
    for name in "ab":
        pair(home / f"images/{name}.jpg", home / f"masks/{name}.png", LABELS)
    bomb = bytearray((home / "masks/a.png").read_bytes())
    bomb[16:24] = (10**5).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    (home / "masks/a.png").write_bytes(bomb)
    write(home / "classes.txt", "background\ncat\ndog\n")
    with collecting_faults():
        assert list(maps("semantic:set")) == ["set/images/b.jpg"]


def test_a_map_in_jpeg_is_left_out_with_the_reason(home):
    pair(home / "Images/a.jpg", home / "Masks/a.jpg", LABELS)
    pair(home / "Images/b.jpg", home / "Masks/b.png", LABELS)
    write(home / "classes.txt", "background\ncat\ndog\n")
    with collecting_faults() as faults:
        assert list(maps("semantic:set")) == ["set/Images/b.jpg"]
    assert "save it as PNG" in faults.examples["unreadable_annotations"][0]
