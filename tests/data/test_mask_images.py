"""Masks that come as images: of Pascal VOC, CVAT, MOTS, KITTI and Open Images."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.records.faults import collecting_faults
from d2lite.utils.errors import ConfigError, DataError
from tests.data.spec_files import picture, write

pytestmark = pytest.mark.usefixtures("own_folders")

CAT, DOG = np.s_[2:8, 3:9], np.s_[4:9, 12:19]
PALETTE = [*(0, 0, 0), *(128, 0, 0), *(0, 128, 0), *[7] * 756, *(224, 224, 192)]


def pixels(*parts, dtype=np.uint8):
    """(10, 20) of 0, with a value in each of some windows."""
    values = np.zeros((10, 20), dtype)
    for window, value in parts:
        values[window] = value
    return values


def png(path, values, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image = image.copy()
        image.putpalette(palette)
    image.save(path)


def found(string):
    """Image -> (class, window of pixels, is crowd) of its objects, in order of the class."""
    names = MetadataCatalog.get(string).thing_classes
    return {
        record["file_name"].rpartition("work/")[2]: sorted(
            (
                names[obj["category_id"]],
                np.argwhere(coco_mask.decode(obj["segmentation"])).tolist(),
                obj.get("iscrowd", 0),
            )
            for obj in record["annotations"]
        )
        for record in DatasetCatalog.get(string)
    }


def seen(label, window, crowd=0):
    return label, np.argwhere(pixels((window, 1))).tolist(), crowd


BOTH = [seen("cat", CAT), seen("dog", DOG)]


def voc(home, classes, objects, name="a", **options):
    png(home / f"SegmentationClass/{name}.png", classes, **options)
    png(home / f"SegmentationObject/{name}.png", objects, **options)
    picture(home / f"JPEGImages/{name}.jpg")


@pytest.mark.parametrize("has_palette", [True, False])
def test_voc_masks_leave_out_the_border_and_keep_images_without_a_map(tmp_path, has_palette):
    home = tmp_path / "work/v"
    border = (np.s_[2, 3:9], 255)
    voc(
        home,
        pixels((CAT, 8), (DOG, 12), border),
        pixels((CAT, 1), (DOG, 2), border),
        palette=PALETTE if has_palette else None,
    )
    picture(home / "JPEGImages/b.jpg")
    write(home / "ImageSets/Segmentation/train.txt", "JPEGImages/a.jpg\r\nb\r\n")
    write(home / "ImageSets/Segmentation/val.txt", "b\n")
    inside = [seen("cat", np.s_[3:8, 3:9]), seen("dog", DOG)]
    assert found("masks:v") == found("auto:v@train")
    assert found("masks:v") == {"v/JPEGImages/a.jpg": inside, "v/JPEGImages/b.jpg": []}
    assert len(MetadataCatalog.get("masks:v").thing_classes) == 20
    with pytest.raises(DataError, match=r"None of the 1 images .* split 'val', has a map"):
        DatasetCatalog.get("masks:v@val")
    with pytest.raises(ConfigError, match="has train, val; name one"):
        DatasetCatalog.get("masks:v@test")


def coloured(*parts):
    return np.stack([pixels(*((w, c[i]) for w, c in parts)) for i in range(3)], axis=2)


def test_colours_of_cvat_are_those_of_its_list(tmp_path):
    home = tmp_path / "work/c"
    classes = coloured((CAT, (250, 50, 83)), (DOG, (52, 209, 183)))
    objects = coloured((CAT, (128, 0, 0)), (DOG, (0, 128, 0)))
    voc(home, classes, objects, name="sub/a")
    write(home / "ImageSets/Segmentation/default.txt", "sub/a\n")
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\n"
    write(home / "labelmap.txt", f"{text}dog:52,209,183::\n")
    assert found("auto:c") == {"c/JPEGImages/sub/a.jpg": BOTH}
    write(home / "labelmap.txt", text)
    with collecting_faults() as faults:
        assert DatasetCatalog.get("masks:c") == []
    assert "52,209,183, which is not a class of" in faults.examples["unreadable_annotations"][0]
    assert "Add labelmap.txt" in faults.examples["unreadable_annotations"][0]


def test_list_without_colours_means_those_of_voc(tmp_path):
    """As Datumaro writes it."""
    values = coloured((CAT, (128, 0, 0)), (DOG, (0, 128, 0)))
    voc(tmp_path / "work/d", values, values)
    write(tmp_path / "work/d/labelmap.txt", "background:::\ncat:::\ndog:::\n")
    assert found("auto:d") == {"d/JPEGImages/a.jpg": BOTH}


def test_palette_of_other_numbers_is_read_by_its_colours(tmp_path):
    """Programs that make PNGs smaller do so."""
    renumbered = [0, 0, 0, 0, 128, 0, 128, 0, 0]
    values = pixels((CAT, 2), (DOG, 1))
    voc(tmp_path / "work/d", values, values, palette=renumbered)
    write(tmp_path / "work/d/labelmap.txt", "background:::\ncat:128,0,0::\ndog:0,128,0::\n")
    assert found("auto:d") == {"d/JPEGImages/a.jpg": BOTH}


def test_voc_masks_that_do_not_fit_are_told(tmp_path):
    home = tmp_path / "work/v"
    voc(home, pixels((CAT, 8)), pixels((CAT, 1), (DOG, 2)))
    with collecting_faults() as faults:
        assert found("masks:v") == {"v/JPEGImages/a.jpg": [seen("cat", CAT)]}
    assert "object 2, which has no class in" in faults.examples["malformed"][0]
    (home / "SegmentationClass/a.png").unlink()
    with collecting_faults() as faults:
        assert DatasetCatalog.get("auto:v") == []
    assert "no map of the same name" in faults.examples["unreadable_annotations"][0]
    (home / "JPEGImages/a.jpg").unlink()
    (home / "JPEGImages").rmdir()
    with pytest.raises(DataError, match=r"no images\. Export them as well"):
        DatasetCatalog.get("masks:./v")


@pytest.mark.parametrize("has_list", [True, False])
def test_mots_png(tmp_path, has_list):
    home = tmp_path / "work/m"
    values = pixels((CAT, 1000), (DOG, 2005), (np.s_[:1], 10000), dtype=np.uint16)
    png(home / "train/instances/02/000003.png", values)
    for sequence in ("02", "03"):
        picture(home / f"train/images/{sequence}/000003.jpg")
    if has_list:
        write(home / "train/instances/labels.txt", "cat\ndog")
    names = ("cat", "dog") if has_list else ("car", "pedestrian")
    objects = [seen(names[0], CAT), seen(names[1], DOG)]
    assert found("auto:m") == {"m/train/images/02/000003.jpg": objects}


def test_mots_png_of_plain_numbers_is_not_taken_for_images_without_objects(tmp_path):
    home = tmp_path / "work/m"
    png(home / "instances/1.png", pixels((CAT, 1), (DOG, 2)))
    picture(home / "images/1.jpg")
    with collecting_faults() as faults:
        assert found("auto:m") == {"m/images/1.jpg": []}
    assert "value 1 is not the number of a class * 1000" in faults.examples["malformed"][0]


@pytest.mark.parametrize("place", ["instances_txt/02.txt", "train/02/gt/gt.txt"])
def test_mots_text(tmp_path, place):
    home = tmp_path / "work/m"
    codes = [
        coco_mask.encode(np.asfortranarray(pixels((part, 1))))["counts"].decode()
        for part in (CAT, DOG)
    ]
    lines = [f"3 {1005 + i * 1000} {i + 1} 10 20 {code}\n" for i, code in enumerate(codes)]
    write(home / place, "".join([*lines, f"3 10000 10 10 20 {codes[0]}\n"]))
    image = "image_02/02/000003.png" if "txt/" in place else "train/02/img1/000003.jpg"
    picture(home / image)
    picture(home / image.replace("/02/", "/03/"))
    assert found("auto:m") == {f"m/{image}": [seen("car", CAT), seen("pedestrian", DOG)]}


@pytest.mark.parametrize("has_list", [True, False])
def test_kitti_masks_know_crowds_from_what_is_no_object(tmp_path, has_list):
    home = tmp_path / "work/k"
    parts = [(CAT, 26 * 256 + 1), (DOG, 26 * 256), (np.s_[:1], 7 * 256)]
    png(home / "training/instance/1.png", pixels(*parts, dtype=np.uint16))
    picture(home / "training/image_2/1.png")
    if has_list:
        write(home / "label_colors.txt", "".join(f"0 0 {i} class {i}\n" for i in range(27)))
    name = "class 26" if has_list else "car"
    objects = sorted([seen(name, CAT), seen(name, DOG, 1)])
    assert found("auto:k@train") == {"k/training/image_2/1.png": objects}


def test_open_images_masks_have_sizes_of_their_own(tmp_path):
    home = tmp_path / "work/o"
    picture(home / "images/train/1.jpg")
    large = pixels((CAT, 1)).repeat(3, axis=0).repeat(2, axis=1) * np.uint8(255)
    png(home / "masks/train/1_m01_8.png", large)
    head = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks\n"
    table = f"{head}1_m01_8.png,1,/m/01,8,,,,,,\n2_m01_9.png,1,/m/01,9,,,,,,\n"
    write(home / "annotations/train-annotations-object-segmentation.csv", table)
    write(home / "annotations/class-descriptions.csv", "/m/01,cat\n")
    with collecting_faults() as faults:
        assert found("auto:o@train") == {"o/images/train/1.jpg": [seen("cat", CAT)]}
    assert "line 3: the mask 2_m01_9.png is not there" in faults.examples["bad_mask"][0]


def test_mapillary_vistas_names_its_classes_in_its_config(tmp_path):
    home = tmp_path / "work/m"
    parts = [(CAT, 2 * 256), (DOG, 2 * 256 + 1), (np.s_[:1], 256)]
    png(home / "training/instances/1.png", pixels(*parts, dtype=np.uint16))
    picture(home / "training/images/1.jpg")
    labels = [{"readable": n, "instances": n == "Car"} for n in ("Bird", "Curb", "Car")]
    write(home / "config.json", json.dumps({"labels": labels}))
    objects = [seen("Car", CAT), seen("Car", DOG)]
    assert found("auto:m@train") == {"m/training/images/1.jpg": objects}


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"labels": [3]}', '{"labels": {}}'])
def test_a_config_of_somebody_else_does_not_hide_masks_of_mots(tmp_path, content):
    write(tmp_path / "work/config.json", content)
    home = tmp_path / "work/m"
    png(home / "instances/1.png", pixels((CAT, 1001), dtype=np.uint16))
    picture(home / "images/1.jpg")
    assert found("auto:m") == {"m/images/1.jpg": [seen("car", CAT)]}


def test_folder_an_image_with_masks_has_objects_of_one_class(tmp_path):
    """As the Data Science Bowl of 2018 has it."""
    home = tmp_path / "work/d/stage1_train"
    for name, parts in (("a", [CAT, DOG]), ("b", [])):
        picture(home / f"{name}/images/{name}.png")
        for number, part in enumerate(parts):
            png(home / f"{name}/masks/{number}.png", pixels((part, 255)))
    objects = [seen("object", CAT), seen("object", DOG)]
    names = ("d/stage1_train/a/images/a.png", "d/stage1_train/b/images/b.png")
    assert found("auto:d") == found("masks:d") == {names[0]: objects, names[1]: []}


def test_labelme_conversion_to_voc_is_read(tmp_path):
    home = tmp_path / "work/l"
    voc(home, pixels((CAT, 1), (DOG, 2)), pixels((CAT, 1), (DOG, 2)), palette=PALETTE)
    write(home / "class_names.txt", "_background_\ncat\ndog\n")
    assert found("auto:l") == {"l/JPEGImages/a.jpg": BOTH}


def test_images_without_a_map_keep_their_folder(home):
    """Of two cameras that number their images alike."""
    for camera in ("cam1", "cam2"):
        for number in "12":
            picture(home / f"JPEGImages/{camera}/{number}.jpg")
        for kind in ("Object", "Class"):
            png(home / f"Segmentation{kind}/{camera}/1.png", pixels((CAT, 1)), PALETTE)
    write(home / "labelmap.txt", "background:0,0,0::\ncat:128,0,0::\n")
    names = [f"{camera}/{number}" for camera in ("cam1", "cam2") for number in "12"]
    write(home / "ImageSets/Segmentation/train.txt", "\n".join(names))
    objects = found("masks:set@train")
    assert {name: len(of_image) for name, of_image in objects.items()} == {
        f"set/JPEGImages/{name}.jpg": int(name.endswith("1")) for name in names
    }


def test_a_mask_that_is_missing_is_not_looked_for_among_the_images(home):
    picture(home / "images/1.jpg")
    write(home / "t.csv", "image_path,mask_path,label\nimages/1.jpg,masks/1.png,cat\n")
    with collecting_faults() as faults:
        assert found("csv:set/t.csv") in ({}, {"set/images/1.jpg": []})
    assert "is not there" in str(faults)


def test_a_file_among_the_folders_of_masks_is_passed_over(home):
    picture(home / "images/a.jpg")
    png(home / "masks/a/0_0.png", pixels((CAT, 255)))
    write(home / "classes.txt", "cat\n")
    write(home / "masks/README.txt", "made by hand")
    assert found("masks:set") == {"set/images/a.jpg": [seen("cat", CAT)]}
