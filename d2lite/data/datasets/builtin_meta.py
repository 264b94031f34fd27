"""Facts about the built-in datasets: class names, ids, colours, keypoints."""

from typing import Any

__all__ = [
    "COCO_CATEGORIES",
    "COCO_PERSON_KEYPOINT_FLIP_MAP",
    "COCO_PERSON_KEYPOINT_NAMES",
    "KEYPOINT_CONNECTION_RULES",
    "coco_instances_metadata",
    "coco_person_metadata",
]

# COCO's countable classes: its id, its name, the colour of its panoptic maps as RRGGBB.
# Source: the category list of COCO's panoptic annotations.
_COCO_THINGS = """
1 person DC143C, 2 bicycle 770B20, 3 car 00008E, 4 motorcycle 0000E6, 5 airplane 6A00E4,
6 bus 003C64, 7 train 005064, 8 truck 000046, 9 boat 0000C0, 10 traffic light FAAA1E,
11 fire hydrant 64AA1E, 13 stop sign DCDC00, 14 parking meter AF74AF, 15 bench FA001E,
16 bird A52A2A, 17 cat FF4DFF, 18 dog 00E2FC, 19 horse B6B6FF, 20 sheep 005200, 21 cow 78A69D,
22 elephant 6E4C00, 23 bear AE39FF, 24 zebra C76400, 25 giraffe 480076, 27 backpack FFB3F0,
28 umbrella 007D5C, 31 handbag D10097, 32 tie BCD0B6, 33 suitcase 00DCB0, 34 frisbee FF63A4,
35 skis 5C0049, 36 snowboard 8581FF, 37 sports ball 4EB4FF, 38 kite 00E400,
39 baseball bat AEFFF3, 40 baseball glove 2D59FF, 41 skateboard 868667, 42 surfboard 9194AE,
43 tennis racket FFD0BA, 44 bottle C5E2FF, 46 wine glass AB8601, 47 cup 6D3F36, 48 fork CF8AFF,
49 knife 97005F, 50 spoon 09503D, 51 bowl 546933, 52 banana 4A4169, 53 apple A6C466,
54 sandwich D0C3D2, 55 orange FF6D41, 56 broccoli 008F95, 57 carrot B300C2, 58 hot dog D1636A,
59 pizza 057900, 60 donut E3FFCD, 61 cake 93BAD0, 62 chair 994501, 63 couch 035FA1,
64 potted plant A3FF00, 65 bed 7700AA, 67 dining table 00B6C7, 70 toilet 00A578, 72 tv B78258,
73 laptop 5F2000, 74 mouse 827287, 75 remote 6E8185, 76 keyboard A64A76, 77 cell phone DB8EB9,
78 microwave 4FD272, 79 oven B25A3E, 80 toaster 41460F, 81 sink 7FA773, 82 refrigerator 3B696A,
84 book 8E6C2D, 85 clock C4AC00, 86 vase 5F3650, 87 scissors 804CFF, 88 teddy bear C93901,
89 hair drier F6007A, 90 toothbrush BFA2D0
"""


def _read_table(table: str) -> list[dict[str, Any]]:
    categories = []
    for entry in table.replace("\n", " ").split(","):
        number, *name, colour = entry.split()
        categories.append(
            {
                "id": int(number),
                "name": " ".join(name),
                "color": list(bytes.fromhex(colour)),
                "isthing": 1,
            }
        )
    return categories


COCO_CATEGORIES = _read_table(_COCO_THINGS)

COCO_PERSON_KEYPOINT_NAMES = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)

# What a mirror exchanges: every left_* with its right_*.
COCO_PERSON_KEYPOINT_FLIP_MAP = tuple(
    (name, name.replace("left", "right"))
    for name in COCO_PERSON_KEYPOINT_NAMES
    if name.startswith("left")
)

# The lines of a drawn skeleton, with an RGB colour: warm on the right side, cold on the left.
KEYPOINT_CONNECTION_RULES = [
    ("nose", "left_eye", (70, 130, 230)),
    ("nose", "right_eye", (230, 110, 60)),
    ("left_eye", "left_ear", (110, 170, 240)),
    ("right_eye", "right_ear", (240, 150, 90)),
    ("left_shoulder", "right_shoulder", (240, 220, 80)),
    ("left_hip", "right_hip", (210, 190, 50)),
    ("left_shoulder", "left_elbow", (60, 190, 220)),
    ("right_shoulder", "right_elbow", (240, 90, 120)),
    ("left_elbow", "left_wrist", (110, 220, 235)),
    ("right_elbow", "right_wrist", (250, 140, 160)),
    ("left_hip", "left_knee", (60, 190, 130)),
    ("right_hip", "right_knee", (200, 80, 200)),
    ("left_knee", "left_ankle", (120, 225, 170)),
    ("right_knee", "right_ankle", (225, 140, 225)),
]


def coco_instances_metadata() -> dict[str, Any]:
    """Metadata of COCO's 80 classes."""
    return {
        "thing_classes": [category["name"] for category in COCO_CATEGORIES],
        "thing_colors": [category["color"] for category in COCO_CATEGORIES],
        "thing_dataset_id_to_contiguous_id": {
            category["id"]: index for index, category in enumerate(COCO_CATEGORIES)
        },
    }


def coco_person_metadata() -> dict[str, Any]:
    """Metadata of COCO's keypoint annotations, whose one class is person."""
    return {
        "thing_classes": ["person"],
        "thing_dataset_id_to_contiguous_id": {1: 0},
        "keypoint_names": COCO_PERSON_KEYPOINT_NAMES,
        "keypoint_flip_map": COCO_PERSON_KEYPOINT_FLIP_MAP,
        "keypoint_connection_rules": KEYPOINT_CONNECTION_RULES,
    }
