"""Published datasets: their addresses, and fetching them into the layout that configs expect."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from d2lite.utils.download import download
from d2lite.utils.errors import ConfigError, DataError, MissingFileError
from d2lite.utils.file_io import write_file
from d2lite.utils.live_line import live_line, on_terminal
from d2lite.utils.unpack import unpack

logger = logging.getLogger(__name__)

# Below the root: archives while they are fetched, and what is done.
_WORK_FOLDER = ".downloads"


@dataclass(frozen=True)
class Archive:
    """One file to fetch.

    Attributes:
        urls: the same content at each; tried in order.
        folder: where it is unpacked, below the root of the datasets.
        below: the folder of the archive whose content is wanted.
        md5: of the archive, where it is published; zips have checksums of their own.
    """

    urls: tuple[str, ...]
    folder: str
    below: str = ""
    md5: str | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self.urls[0].rpartition("/")[2]


@dataclass(frozen=True)
class PublishedSet:
    """A dataset that can be fetched.

    Attributes:
        parts: name -> its archive.
        default: the parts that are fetched if none are named.
        use: how it is named in a config afterwards.
    """

    parts: dict[str, Archive]
    default: tuple[str, ...]
    use: str


def _coco(path: str) -> Archive:
    # The second is the storage of the first, and has an https address, which the first lacks.
    hosts = ("http://images.cocodataset.org", "https://s3.amazonaws.com/images.cocodataset.org")
    return Archive(tuple(f"{host}/{path}" for host in hosts), "coco")


def _coco_year(year: int) -> PublishedSet:
    parts = {split: _coco(f"zips/{split}{year}.zip") for split in ("train", "val", "test")}
    parts["annotations"] = _coco(f"annotations/annotations_trainval{year}.zip")
    parts["test_info"] = _coco(f"annotations/image_info_test{year}.zip")
    names = f"coco_{year}_train, coco_{year}_val"
    return PublishedSet(parts, ("annotations", "val", "train"), names)


def _voc(year: int, file: str, md5: str) -> Archive:
    hosts = ("https://thor.robots.ox.ac.uk", "http://host.robots.ox.ac.uk")
    urls = tuple(f"{host}/pascal/VOC/voc{year}/{file}" for host in hosts)
    return Archive(urls, f"VOC{year}", below=f"VOCdevkit/VOC{year}", md5=md5)


def _lvis(split: str) -> Archive:
    return Archive((f"https://dl.fbaipublicfiles.com/LVIS/lvis_v1_{split}.json.zip",), "lvis")


_BCCD = "https://github.com/Shenggan/BCCD_Dataset/archive/refs/heads/master.zip"

PUBLISHED = {
    "coco2017": _coco_year(2017),
    "coco2014": _coco_year(2014),
    "voc2007": PublishedSet(
        {
            "trainval": _voc(
                2007, "VOCtrainval_06-Nov-2007.tar", "c52e279531787c972589f7e41ab4ae64"
            ),
            "test": _voc(2007, "VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f"),
        },
        ("trainval", "test"),
        "voc_2007_trainval, voc_2007_test",
    ),
    "voc2012": PublishedSet(
        {"trainval": _voc(2012, "VOCtrainval_11-May-2012.tar", "6cd6e144f989b92b3379bac3b3de84fd")},
        ("trainval",),
        "voc_2012_trainval",
    ),
    "lvis": PublishedSet(
        {
            "annotations_train": _lvis("train"),
            "annotations_val": _lvis("val"),
            "train": _coco("zips/train2017.zip"),
            "val": _coco("zips/val2017.zip"),
        },
        ("annotations_val", "annotations_train", "val", "train"),
        "lvis_v1_train, lvis_v1_val",
    ),
    "bccd": PublishedSet(
        {"all": Archive((_BCCD,), "bccd", below="BCCD_Dataset-master/BCCD")},
        ("all",),
        "voc:bccd@trainval, voc:bccd@test",
    ),
}
"""Name of a dataset -> what there is of it."""


def fetch_dataset(
    dataset: PublishedSet,
    root: Path,
    *,
    parts: Sequence[str] | None = None,
    mirrors: Sequence[str] = (),
    keep_archives: bool = False,
) -> None:
    """Fetch and unpack a dataset; what is there already is left alone.

    Args:
        dataset: what to fetch.
        root: the folder of the datasets.
        parts: which parts; None for those that a training needs.
        mirrors: addresses of folders that have the archives, tried before the published ones.
        keep_archives: do not delete them after unpacking.

    Raises:
        ConfigError: for a part that there is not.
        MissingFileError: if no address has an archive.
        DataError: if what comes is damaged or unsafe.
    """
    chosen = dataset.default if parts is None else parts
    unknown = [part for part in chosen if part not in dataset.parts]
    if unknown:
        raise ConfigError(
            f"There is no part {', '.join(unknown)}; there are {', '.join(dataset.parts)}."
        )
    for part in chosen:
        archive = dataset.parts[part]
        work = root / _WORK_FOLDER / archive.folder
        done = work / f"{archive.name}.done"
        if done.is_file():
            logger.info("%s is unpacked in %s already", archive.name, root / archive.folder)
            continue
        file = _fetch(archive, work / archive.name, mirrors)
        logger.info("Unpacking %s into %s", file.name, root / archive.folder)
        try:
            count = unpack(
                file, root / archive.folder, below=archive.below, progress=_show_progress
            )
        finally:
            live_line.finish()
        write_file(done, f"{count} files\n")
        if not keep_archives:
            file.unlink()


def _fetch(archive: Archive, target: Path, mirrors: Sequence[str]) -> Path:
    """The archive from the first address that has it whole."""
    urls = [f"{mirror.rstrip('/')}/{archive.name}" for mirror in mirrors] + list(archive.urls)
    reasons = []
    for url in urls:
        try:
            download(url, target)
            _check_md5(target, archive.md5, url)
            return target
        except (MissingFileError, DataError) as err:
            reasons.append(str(err))
            if url != urls[-1]:
                logger.warning("%s Trying the next address.", err)
    raise MissingFileError(
        f"{archive.name} came from none of {len(urls)} addresses. "
        + " ".join(reasons)
        + f" Or put the file itself at {target}, and name other servers with --mirror."
    )


def _check_md5(file: Path, wanted: str | None, url: str) -> None:
    if wanted is None:
        return
    digest = hashlib.md5(usedforsecurity=False)
    with open(file, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != wanted:
        file.unlink()
        raise DataError(
            f"{url} is damaged or another file: its MD5 is {digest.hexdigest()}, published is "
            f"{wanted}. What came was deleted."
        )


def _show_progress(done: int, total: int) -> None:
    if on_terminal() and (done % 100 == 0 or done == total):
        live_line.show(f"{done} of {total} files")
