"""What to do about a folder that is in no layout that auto: knows, by what is in it."""

from collections import Counter
from itertools import islice
from pathlib import Path

from d2lite.data.datasets.image_finder import IMAGE_ENDINGS, is_leftover

# So many files are looked at.
_MAX_FILES = 5000
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
    ".txt": "If the .txt files are labels of YOLO, add classes.txt, a name of a class a line.",
    ".json": "The .json files have neither the keys of COCO nor those of another tool that is "
    "known: export as COCO.",
    ".xml": "The .xml files are not of Pascal VOC or CVAT: export as COCO or Pascal VOC.",
    ".csv": "The columns of the .csv file are not known: name them as in "
    "csv:TABLE.csv?columns=image:FILE,label:KIND.",
}


def advice(folder: Path) -> str:
    """What the folder and those below it hold, and what to export or name; begins with a blank."""
    files = (p for p in folder.rglob("*") if not is_leftover(p) and p.is_file())
    endings = Counter(path.suffix.lower() for path in islice(files, _MAX_FILES))
    if not endings:
        return " There are no files in it."
    listed = ", ".join(
        f"{count} {ending or 'without ending'}" for ending, count in endings.most_common(6)
    )
    hints = [text for ending, text in _BY_ENDING.items() if ending in endings]
    if endings.keys() <= set(IMAGE_ENDINGS):
        hints = ["There are only images: export the annotations, too."]
    return " ".join(["", f"Its files are {listed}.", *hints[:2]])
