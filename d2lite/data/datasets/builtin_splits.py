"""The splits of the built-in datasets and their paths below the folder of all datasets.

The names with an underscore are those that code written for detectron2 imports; their paths have
the root left out.
"""

# Names of one group share their metadata: split -> (image folder, annotation file), below coco/.
COCO_SPLITS = {
    "coco": {
        "2014_train": ("train2014", "instances_train2014"),
        "2014_val": ("val2014", "instances_val2014"),
        "2014_minival": ("val2014", "instances_minival2014"),
        "2014_valminusminival": ("val2014", "instances_valminusminival2014"),
        "2017_train": ("train2017", "instances_train2017"),
        "2017_val": ("val2017", "instances_val2017"),
        "2017_val_100": ("val2017", "instances_val2017_100"),
        "2017_test": ("test2017", "image_info_test2017"),
        "2017_test-dev": ("test2017", "image_info_test-dev2017"),
    },
    "keypoints_coco": {
        "2014_train": ("train2014", "person_keypoints_train2014"),
        "2014_val": ("val2014", "person_keypoints_val2014"),
        "2014_minival": ("val2014", "person_keypoints_minival2014"),
        "2014_valminusminival": ("val2014", "person_keypoints_valminusminival2014"),
        "2017_train": ("train2017", "person_keypoints_train2017"),
        "2017_val": ("val2017", "person_keypoints_val2017"),
        "2017_val_100": ("val2017", "person_keypoints_val2017_100"),
    },
}

# Split -> what the names of its files end in; all below coco/.
COCO_PANOPTIC_SPLITS = {
    "2017_train": ("train2017", "train2017"),
    "2017_val": ("val2017", "val2017"),
    "2017_val_100": ("val2017", "val2017_100"),
}

# Set -> annotation file, below lvis/; the images are those of coco/.
LVIS_SPLITS = {
    "lvis_v1_train": "lvis_v1_train",
    "lvis_v1_val": "lvis_v1_val",
    "lvis_v1_test_dev": "lvis_v1_image_info_test_dev",
    "lvis_v1_test_challenge": "lvis_v1_image_info_test_challenge",
    "lvis_v0.5_train": "lvis_v0.5_train",
    "lvis_v0.5_val": "lvis_v0.5_val",
    "lvis_v0.5_val_rand_100": "lvis_v0.5_val_rand_100",
    "lvis_v0.5_test": "lvis_v0.5_image_info_test",
    "lvis_v0.5_train_cocofied": "lvis_v0.5_train_cocofied",
    "lvis_v0.5_val_cocofied": "lvis_v0.5_val_cocofied",
}

CITYSCAPES_SPLITS = ("train", "val", "test")
CITYSCAPES_PANOPTIC_SPLITS = ("train", "val")

_PREDEFINED_SPLITS_COCO = {
    group: {
        f"{group}_{split}": (f"coco/{images}", f"coco/annotations/{annotations}.json")
        for split, (images, annotations) in splits.items()
    }
    for group, splits in COCO_SPLITS.items()
}
"""Group -> set -> folder of images, annotation file."""

_PREDEFINED_SPLITS_COCO_PANOPTIC = {
    f"coco_{split}_panoptic": (
        f"coco/panoptic_{ending}",
        f"coco/annotations/panoptic_{ending}.json",
        f"coco/panoptic_stuff_{ending}",
    )
    for split, (_, ending) in COCO_PANOPTIC_SPLITS.items()
}
"""Set -> folder of segments, annotation file, folder of classes of stuff."""


def _lvis_group(name: str) -> str:
    version = "_".join(name.split("_")[:2])
    return f"{version}_cocofied" if name.endswith("_cocofied") else version


_PREDEFINED_SPLITS_LVIS: dict[str, dict[str, tuple[str, str]]] = {}
"""Group -> set -> folder of images, annotation file."""
for _name, _file in LVIS_SPLITS.items():
    _group = _PREDEFINED_SPLITS_LVIS.setdefault(_lvis_group(_name), {})
    _group[_name] = ("coco/", f"lvis/{_file}.json")

_RAW_CITYSCAPES_SPLITS = {
    f"cityscapes_fine_{{task}}_{split}": (
        f"cityscapes/leftImg8bit/{split}/",
        f"cityscapes/gtFine/{split}/",
    )
    for split in CITYSCAPES_SPLITS
}
"""Set, with {task} for "instance_seg" or "sem_seg" -> folders of images and of annotations."""

_RAW_CITYSCAPES_PANOPTIC_SPLITS = {
    f"cityscapes_fine_panoptic_{split}": (
        f"cityscapes/leftImg8bit/{split}",
        f"cityscapes/gtFine/cityscapes_panoptic_{split}",
        f"cityscapes/gtFine/cityscapes_panoptic_{split}.json",
    )
    for split in CITYSCAPES_PANOPTIC_SPLITS
}
"""Set -> folders of images and of segments, annotation file."""
