"""What to do about a folder that is in no layout that auto: knows, by what is in it."""

import re
from collections import Counter
from itertools import islice
from pathlib import Path

from d2lite.data.datasets.image_finder import IMAGE_ENDINGS, is_leftover

from .file_kinds import json_kind, xml_kind
from .text_boxes import is_icdar

# So many files are looked at.
_MAX_FILES = 5000
_MAX_PEEKS = 20
_BY_ENDING = {
    ".zip": "Name the .zip itself, or unpack it.",
    ".rar": "Unpack the .rar.",
    ".7z": "Unpack the .7z.",
    ".tar": "Unpack the .tar.",
    ".gz": "Unpack the .gz.",
    ".tfrecord": "TFRecord files are not read: export as COCO.",
    ".record": "TFRecord files are not read: export as COCO.",
    ".parquet": "Name the folder as hf:DIR.",
    ".mat": "Files of Matlab are not read: convert them to COCO.",
    ".lst": "RecordIO files of MXNet are not read: export as COCO.",
    ".arrow": "Arrow files are read with what save_to_disk of Hugging Face wrote beside them: name "
    "its folder, or export as COCO.",
    ".datum": "Datumaro's binary files are not read: export as datumaro or coco.",
    ".json": "The .json files have neither the keys of COCO nor those of another tool that is "
    "known: export as COCO.",
    ".xml": "The .xml files are not of Pascal VOC or CVAT: export as COCO or Pascal VOC.",
    ".csv": "The columns of the .csv file are not known: name them as in "
    "csv:TABLE.csv?columns=image:FILE,label:KIND.",
    ".xlsx": "Excel's .xlsx is not read: save the table as CSV.",
    ".jsonl": "The .jsonl files are not of a known tool: export as COCO.",
}
# Words of the first line of a table that is not one of boxes -> what to do.
_TABLES = (
    (("annotation_id", "annotator"), "is Label Studio's CSV: export its JSON."),
    (
        ("Pixel Value",),
        "names the classes of maps, which are not beside it: export COCO Segmentation.",
    ),
    (("mask_id",), "lists images of masks, which are not read: export COCO."),
    (("class_color",), "names the colours of maps of classes, which are not read: export COCO."),
)

# Beginnings of the names of COCO's files that have no objects -> what they are.
_COCO_WITHOUT_OBJECTS = {
    "captions": "has captions alone: name the file of the instances",
    "image_info": "lists images without labels: name images:DIR to predict on them",
    "panoptic": "has no segments: export panoptic annotations again, or COCO instances",
}

# Keys that tell the files of a tool whose own format is not read -> what to do.
_OTHER_TOOLS = {
    "Labelbox": (
        ("data_row", "projects"),
        ("data_row", "label_details"),
        ("Labeled Data", "Label"),
    ),
    "V7 Darwin": (("bounding_box", "item"), ("bounding_box", "slot_names"), ("schema_ref",)),
    "Dataloop": (("itemMetadata", "annotations"), ("datasetId", "coordinates")),
    "SuperAnnotate": (("metadata", "instances"), ("className", "pointLabels")),
    "ISAT": (("info", "objects", "layer"),),
    "Hasty": (("label_classes", "images"), ("class_name", "labels", "image_id")),
    "Encord": (("label_hash", "data_hash"), ("data_units",)),
    "Scale": (("task_id", "response"), ("callback_url",)),
    "BDD100K": (("box2d",), ("poly2d",)),
    "Kili": (("jsonResponse",),),
    "SageMaker Ground Truth": (("source-ref",),),
    "GeoJSON": (("FeatureCollection",), ("geometry", "features")),
    "VoTT": (("asset", "regions"),),
    "FiftyOne": (("classes", "labels", "bounding_box"), ("_cls", "filepath")),
    "Azure Custom Vision": (("tagName", "regions"), ("image_url", "topX")),
    "Google Vertex AI": (("imageGcsUri",),),
    "CrowdHuman": (("gtboxes", "fbox"),),
    "DeepFashion2": (("bounding_box", "category_name"),),
    "Segment Anything": (("predicted_iou", "stability_score"),),
    "Mapillary Vistas": (("readable", "instances", "evaluate"),),
    "Visual Genome": (("image_url", "objects"),),
    "COCO-Text": (("imgs", "anns", "imgToAnns"),),
    "PaliGemma": (("prefix", "suffix"),),
    "YouTube-VIS": (("videos", "segmentations"), ("videos", "file_names")),
    "nuImages": (("category_token", "sample_data_token"),),
    "Lightly": (("file_name", "predictions"),),
}
_JSON_ENDINGS = (".json", ".ndjson", ".jsonl", ".manifest", ".geojson", ".odgt")
_PEEKED = (*_JSON_ENDINGS, ".txt", ".csv", ".xml")
_ARCHIVES = (".rar", ".7z", ".tar", ".gz")
_HEAD_BYTES = 2**17


def other_tool(path: Path) -> str:
    """The name of the tool whose own format a JSON file has; "" if it is not known."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    for tool, signs in _OTHER_TOOLS.items():
        if any(all(f'"{key}"'.encode() in head for key in keys) for keys in signs):
            return tool
    return ""


def file_advice(path: Path) -> str:
    """What to do about one file, if it is known; begins with a blank."""
    ending = path.suffix.lower()
    if ending == ".txt":
        return _text_advice(path)
    if path.name in ("metadata.jsonl", "metadata.csv"):
        return (
            f" {path.name} is of Hugging Face: if it has 'objects' with boxes, name its folder or "
            "the one above as hf:DIR."
        )
    if ending == ".xml" and xml_kind(path) == "voc":
        return (
            f" {path.name} is of Pascal VOC: name the folder that holds it, as voc:{path.parent}."
        )
    if ending == ".csv":
        with path.open("rb") as stream:
            line = stream.readline(_HEAD_BYTES).decode(errors="replace")
        found = (text for words, text in _TABLES if all(word in line for word in words))
        return next((f" {path.name} {text}" for text in found), "")
    if ending not in _JSON_ENDINGS:
        return f" {_BY_ENDING[ending]}" if ending in _ARCHIVES else ""
    kind = json_kind(path)
    others = (why for name, why in _COCO_WITHOUT_OBJECTS.items() if path.stem.startswith(name))
    if kind == "coco" and (why := next(others, "")):
        return f" {path.name} {why}."
    if kind:
        return f" {path.name} is read when it is named itself: {kind}:{path}."
    tool = other_tool(path)
    if not tool and _has_scores(path):
        return (
            f" {path.name} has predictions in the form of COCO's results, without the images: name "
            "the file of the annotations."
        )
    return tool and (
        f" {path.name} looks like {tool}'s own format, which is not read: export as COCO there, or "
        "convert it to COCO by the tool's own converter."
    )


def _has_scores(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    keys = (b'"image_id"', b'"category_id"', b'"score"')
    return head.lstrip().startswith(b"[") and all(key in head for key in keys)


def maps_alone(folder: Path) -> str:
    """The names of the folders where all images are, if these are of masks; else ""."""
    images = (path for path in _files(folder) if path.suffix.lower() in IMAGE_ENDINGS)
    places = {next((part for part in p.parts if _is_of_masks(part)), "") for p in images}
    return ", ".join(sorted(places)) if "" not in places else ""


def _is_of_masks(name: str) -> bool:
    return name.lower() in ("mask", "masks", "segmentationclass", "segmentationobject", "gtfine")


def only_images(folder: Path) -> bool:
    """Whether a folder, with those below it, holds images and nothing else."""
    endings = {path.suffix.lower() for path in _files(folder)}
    return bool(endings) and endings <= set(IMAGE_ENDINGS)


def brush_masks(folder: Path) -> str:
    """What to do about a folder with Label Studio's export of brushes; "" for any other."""
    if not any(re.match(r"task-\d+-annotation-", path.name) for path in _files(folder)):
        return ""
    return (
        "The images task-... are masks as Label Studio exports them, which do not say whose they "
        "are: export its JSON"
    )


def _files(folder: Path) -> list[Path]:
    below = (p for p in folder.rglob("*") if not is_leftover(p) and p.is_file())
    return list(islice(below, _MAX_FILES))


def _text_advice(path: Path) -> str:
    """What to do about a text file, by its name and first line."""
    with path.open("rb") as stream:
        line = stream.readline(_HEAD_BYTES).strip()
    if is_icdar(path):
        return (
            f" {path.name} looks like ICDAR's, which has texts and no classes, and is not read: "
            "convert it to COCO or YOLO with one class."
        )
    if re.fullmatch(rb"-?[\d.]+(,-?[\d.]+){5,9},?", line):
        return (
            f" {path.name} has numbers with commas between them, as MOT and VisDrone have of "
            "videos, which is not read: convert it to COCO or YOLO."
        )
    if re.fullmatch(rb"[^\W\d]\w*(\s+-?\d[\d.]*){4,5}", line):
        return (
            f" {path.name} has a class and the numbers of a box in a line, which is not read: "
            "convert it to YOLO, or name the columns of a table as csv: has them."
        )
    if re.fullmatch(rb"\d+(\s+-?[\d.e-]+){4,}", line):
        return " If the .txt files are labels of YOLO, add classes.txt, a name of a class a line."
    return ""


def advice(folder: Path) -> str:
    """What the folder and those below it hold, and what to export or name; begins with a blank."""
    files = _files(folder)
    endings = Counter(path.suffix.lower() for path in files)
    if not endings:
        return " There are no files in it."
    listed = ", ".join(
        f"{count} {ending or 'without ending'}" for ending, count in endings.most_common(6)
    )
    if any("leftImg8bit" in path.parts for path in files):
        return (
            " It has images of Cityscapes without gtFine/SPLIT/..._instanceIds.png or "
            "..._polygons.json. Name the folder that holds gtFine/ and leftImg8bit/, or, with "
            "D2LITE_DATASETS set to the folder that holds cityscapes/, the set "
            "cityscapes_fine_instance_seg_train."
        )
    if places := maps_alone(folder):
        return (
            f" Its images are all in {places}, as masks and maps of classes are; the images that "
            "they belong to are missing."
        )
    files = [path for path in files if path.suffix.lower() in _PEEKED][:_MAX_PEEKS]
    hints = [text.strip() for path in files if (text := file_advice(path))][:1]
    hints = hints or [text for ending, text in _BY_ENDING.items() if ending in endings]
    return " ".join(["", f"Its files are {listed}.", *hints[:2]])
