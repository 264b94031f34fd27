"""Facts about the built-in datasets: class names, ids, colours, keypoints."""

from typing import Any

from d2lite.utils.errors import UnknownNameError

__all__ = [
    "ADE20K_SEM_SEG_CATEGORIES",
    "CITYSCAPES_CATEGORIES",
    "COCO_CATEGORIES",
    "COCO_PERSON_KEYPOINT_FLIP_MAP",
    "COCO_PERSON_KEYPOINT_NAMES",
    "KEYPOINT_CONNECTION_RULES",
    "cityscapes_metadata",
    "cityscapes_panoptic_metadata",
    "coco_instances_metadata",
    "coco_panoptic_metadata",
    "coco_panoptic_separated_metadata",
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

# COCO's grounds and surfaces, as the panoptic annotations merge them: id, name, colour.
_COCO_STUFF = """
92 banner FFFF80, 93 blanket 93D3CB, 95 bridge 966464, 100 cardboard A8ABAC, 107 counter 9270C6,
109 curtain D2AA64, 112 door-stuff 5C8859, 118 floor-wood DA58B8, 119 flower F18100,
122 fruit D911FF, 125 gravel 7C4AB5, 128 house 464646, 130 light FFE4FF, 133 mirror-stuff 9AD000,
138 net C1005C, 141 pillow 4C5B71, 144 platform FFB4C3, 145 playingfield 6A9AB0,
147 railroad E6968C, 148 river 3C8FFF, 149 road 804080, 151 roof 5C5237, 154 sand FED47C,
155 sea 494DAE, 156 shelf FFA062, 159 snow FFFFFF, 161 stairs 68546D, 166 tent A9A483,
168 towel E1C7FF, 171 wall-brick 89364A, 175 wall-stone 879EDF, 176 wall-tile 07F6E7,
177 wall-wood 6BFFC8, 178 water-other 3A2995, 180 window-blind B7798E, 181 window-other FF4961,
184 tree-merged 6B8E23, 185 fence-merged BE9999, 186 ceiling-merged 928B8D,
187 sky-other-merged 4682B4, 188 cabinet-merged 86C79C, 189 table-merged D1E28C,
190 floor-other-merged 60246C, 191 pavement-merged 606060, 192 mountain-merged 40AA40,
193 grass-merged 98FB98, 194 dirt-merged D0E5E4, 195 paper-merged CEBAAB,
196 food-other-merged 98A140, 197 building-other-merged 747000, 198 rock-merged 00728F,
199 wall-other-merged 66669C, 200 rug-merged FA8DFF
"""

# Colour of the one class that means every thing in COCO's maps of stuff.
_ANY_THING_COLOUR = [82, 18, 128]

# The classes that Cityscapes evaluates, in order of their training number: id, name, colour.
_CITYSCAPES_STUFF = """
7 road 804080, 8 sidewalk F423E8, 11 building 464646, 12 wall 66669C, 13 fence BE9999,
17 pole 999999, 19 traffic light FAAA1E, 20 traffic sign DCDC00, 21 vegetation 6B8E23,
22 terrain 98FB98, 23 sky 4682B4
"""
_CITYSCAPES_THINGS = """
24 person DC143C, 25 rider FF0000, 26 car 00008E, 27 truck 000046, 28 bus 003C64, 31 train 005064,
32 motorcycle 0000E6, 33 bicycle 770B20
"""

# The 150 classes of the scene parsing benchmark in their order, each by its first name or two.
_ADE20K = """
wall; building; sky; floor; tree; ceiling; road, route; bed; window; grass; cabinet;
sidewalk, pavement; person; earth, ground; door; table; mountain, mount; plant; curtain; chair;
car; water; painting, picture; sofa; shelf; house; sea; mirror; rug; field; armchair; seat; fence;
desk; rock, stone; wardrobe, closet, press; lamp; tub; rail; cushion; base, pedestal, stand; box;
column, pillar; signboard, sign; chest of drawers, chest, bureau, dresser; counter; sand; sink;
skyscraper; fireplace; refrigerator, icebox; grandstand, covered stand; path; stairs; runway;
case, display case, showcase, vitrine; pool table, billiard table, snooker table; pillow;
screen door, screen; stairway, staircase; river; bridge, span; bookcase; blind, screen;
coffee table; toilet, can, commode, crapper, pot, potty, stool, throne; flower; book; hill; bench;
countertop; stove; palm, palm tree; kitchen island; computer; swivel chair; boat; bar;
arcade machine; hovel, hut, hutch, shack, shanty; bus; towel; light; truck; tower; chandelier;
awning, sunshade, sunblind; street lamp; booth; tv; plane; dirt track; clothes; pole;
land, ground, soil; bannister, banister, balustrade, balusters, handrail;
escalator, moving staircase, moving stairway; ottoman, pouf, pouffe, puff, hassock; bottle;
buffet, counter, sideboard; poster, posting, placard, notice, bill, card; stage; van; ship;
fountain; conveyer belt, conveyor belt, conveyer, conveyor, transporter; canopy;
washer, automatic washer, washing machine; plaything, toy; pool; stool; barrel, cask;
basket, handbasket; falls; tent; bag; minibike, motorbike; cradle; oven; ball; food, solid food;
step, stair; tank, storage tank; trade name; microwave; pot; animal; bicycle; lake; dishwasher;
screen; blanket, cover; sculpture; hood, exhaust hood; sconce; vase; traffic light; tray;
trash can; fan; pier; crt screen; plate; monitor; bulletin board; shower; radiator;
glass, drinking glass; clock; flag
"""


def _read_table(table: str, is_thing: bool) -> list[dict[str, Any]]:
    categories = []
    for entry in table.replace("\n", " ").split(","):
        number, *name, colour = entry.split()
        categories.append(
            {
                "id": int(number),
                "name": " ".join(name),
                "color": list(bytes.fromhex(colour)),
                "isthing": int(is_thing),
            }
        )
    return categories


COCO_CATEGORIES = _read_table(_COCO_THINGS, True) + _read_table(_COCO_STUFF, False)

CITYSCAPES_CATEGORIES = [
    {**category, "trainId": number}
    for number, category in enumerate(
        _read_table(_CITYSCAPES_STUFF, False) + _read_table(_CITYSCAPES_THINGS, True)
    )
]

ADE20K_SEM_SEG_CATEGORIES = [" ".join(name.split()) for name in _ADE20K.split(";")]

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


def _things(categories: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [category for category in categories if category["isthing"]]


def _stuff(categories: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [category for category in categories if not category["isthing"]]


def coco_instances_metadata() -> dict[str, Any]:
    """Metadata of COCO's 80 classes of things."""
    things = _things(COCO_CATEGORIES)
    return {
        "thing_classes": [category["name"] for category in things],
        "thing_colors": [category["color"] for category in things],
        "thing_dataset_id_to_contiguous_id": {c["id"]: index for index, c in enumerate(things)},
    }


def _one_numbering(categories: list[dict[str, Any]]) -> dict[str, Any]:
    """Metadata where things and stuff share one row of class numbers.

    Both lists of names are whole, so that a class number names its class in either.
    """
    names = [category["name"] for category in categories]
    colours = [category["color"] for category in categories]
    number_of = {category["id"]: index for index, category in enumerate(categories)}
    return {
        "thing_classes": names,
        "thing_colors": colours,
        "stuff_classes": names,
        "stuff_colors": colours,
        "thing_dataset_id_to_contiguous_id": {
            c["id"]: number_of[c["id"]] for c in _things(categories)
        },
        "stuff_dataset_id_to_contiguous_id": {
            c["id"]: number_of[c["id"]] for c in _stuff(categories)
        },
    }


def coco_panoptic_metadata() -> dict[str, Any]:
    """Metadata of COCO's 133 panoptic classes in one row of numbers."""
    return _one_numbering(COCO_CATEGORIES)


def coco_panoptic_separated_metadata() -> dict[str, Any]:
    """Metadata for a model with one head for things and another for stuff, as panoptic FPN has.

    The second one's classes are 0 for whatever is a thing, then the 53 of stuff.
    """
    stuff = _stuff(COCO_CATEGORIES)
    names = [category["name"] for category in stuff]
    for ending in ("-merged", "-other", "-stuff"):  # in this order: sky-other-merged
        names = [name.removesuffix(ending) for name in names]
    return {
        "stuff_classes": ["things", *names],
        "stuff_colors": [_ANY_THING_COLOUR, *(category["color"] for category in stuff)],
        "stuff_dataset_id_to_contiguous_id": {
            0: 0,
            **{category["id"]: index for index, category in enumerate(stuff, start=1)},
        },
        **coco_instances_metadata(),
    }


def cityscapes_metadata() -> dict[str, Any]:
    """Metadata of Cityscapes' 8 classes of things and 19 classes of pixels."""
    return {
        "thing_classes": [category["name"] for category in _things(CITYSCAPES_CATEGORIES)],
        "stuff_classes": [category["name"] for category in CITYSCAPES_CATEGORIES],
    }


def cityscapes_panoptic_metadata() -> dict[str, Any]:
    """Metadata of Cityscapes' 19 panoptic classes in one row of numbers, the training numbers."""
    return _one_numbering(CITYSCAPES_CATEGORIES)


def coco_person_metadata() -> dict[str, Any]:
    """Metadata of COCO's keypoint annotations, whose one class is person."""
    return {
        "thing_classes": ["person"],
        "thing_dataset_id_to_contiguous_id": {1: 0},
        "keypoint_names": COCO_PERSON_KEYPOINT_NAMES,
        "keypoint_flip_map": COCO_PERSON_KEYPOINT_FLIP_MAP,
        "keypoint_connection_rules": KEYPOINT_CONNECTION_RULES,
    }


# Names of code that is written for detectron2.
_get_coco_instances_meta = coco_instances_metadata
_get_coco_panoptic_separated_meta = coco_panoptic_separated_metadata

_METADATA = {
    "coco": coco_instances_metadata,
    "coco_panoptic_separated": coco_panoptic_separated_metadata,
    "coco_panoptic_standard": coco_panoptic_metadata,
    "coco_person": coco_person_metadata,
    "cityscapes": cityscapes_metadata,
}


def _get_builtin_metadata(dataset_name: str) -> dict[str, Any]:
    """Metadata of a group of built-in sets, as a new dict.

    Args:
        dataset_name: "coco", "coco_panoptic_separated", "coco_panoptic_standard", "coco_person" or
            "cityscapes".

    Raises:
        UnknownNameError: for another name.
    """
    if dataset_name not in _METADATA:
        raise UnknownNameError(
            f"There is no built-in metadata of {dataset_name!r}; known: {', '.join(_METADATA)}."
        )
    return _METADATA[dataset_name]()
