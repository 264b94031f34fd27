"""A Pascal VOC folder whose splits and classes are found in the folder itself."""

from functools import cached_property
from pathlib import Path
from typing import Any

from d2lite.data.datasets.pascal_voc import load_voc_instances, voc_labels, voc_split_ids
from d2lite.data.datasets.source import IMAGE_ENDINGS, find_path, no_such_path
from d2lite.utils.errors import ConfigError, DataError

__all__ = ["VocSource", "voc_splits"]


def voc_splits(root: Path) -> list[str]:
    """Names of the text files in ImageSets/Main, class-wise lists as "cat_train" left out."""
    names = {path.stem for path in (root / "ImageSets" / "Main").glob("*.txt")}
    return sorted(n for n in names if "_" not in n or n.rpartition("_")[2] not in names)


def _labels(path: Path) -> set[str]:
    try:
        return voc_labels(path)
    except DataError:
        return set()  # told when the image itself is read


class VocSource:
    """One split of a folder with Annotations, ImageSets/Main and JPEGImages."""

    evaluator_type = "pascal_voc"

    def __init__(self, path: str, split: str | None) -> None:
        """Find the folder and the split.

        Args:
            path: the folder.
            split: where None, "trainval" if there is one, or the only split.
        """
        self._root = find_path(path)
        known = voc_splits(self._root)
        if not known:
            raise no_such_path(f"The list of a VOC split, below {path},", [self._main / "*.txt"])
        if split is None:
            split = "trainval" if "trainval" in known else known[0]
            if split != "trainval" and len(known) > 1:
                raise ConfigError(
                    f"voc:{path} has the splits {', '.join(known)}; name one as in "
                    f"voc:{path}@{split}."
                )
        if not (self._main / f"{split}.txt").is_file():
            raise ConfigError(f"voc:{path} has no split {split!r}; it has {', '.join(known)}.")
        self._split = split

    @property
    def _main(self) -> Path:
        return self._root / "ImageSets" / "Main"

    def metadata(self) -> dict[str, Any]:
        """The folder and the split."""
        return {"dirname": str(self._root), "split": self._split}

    def classes(self) -> list[str]:
        """The labels in all splits of the folder, sorted, so that train and test agree."""
        return self._classes

    @cached_property
    def _classes(self) -> list[str]:
        folder = self._root / "Annotations"
        ids = {i for split in voc_splits(self._root) for i in voc_split_ids(self._root, split)}
        # The test images of some years have no annotations.
        files = [path for i in sorted(ids) if (path := folder / f"{i}.xml").is_file()]
        labels = sorted({label for path in files for label in _labels(path)})
        if not labels:
            raise DataError(
                f"No annotation of {folder} has an object, so there are no classes. Expected one "
                f"XML file for each name in {self._main}."
            )
        return labels

    def category_ids(self) -> None:
        """None: results are told by class names."""

    def load(self) -> list[dict[str, Any]]:
        """The split's dataset dicts."""
        records = load_voc_instances(str(self._root), self._split, self.classes())
        if records and not Path(records[0]["file_name"]).is_file():
            # The layout says .jpg; labelling tools keep what the images are.
            images = {
                path.stem: str(path)
                for path in (self._root / "JPEGImages").glob("*")
                if path.suffix.lower() in IMAGE_ENDINGS
            }
            for record in records:
                record["file_name"] = images.get(record["image_id"], record["file_name"])
        return records
