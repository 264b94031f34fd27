"""MMDetection's datasets, in whatever wrappers, as dataset strings of ours."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from .parts import Keys, Part, kind_of, loader_of

# Datasets that hold another one.
_WRAPPERS = ("MultiImageMixDataset", "RepeatDataset", "ClassBalancedDataset")


def datasets_of(content: Part) -> tuple[list[Part], list[Part]]:
    """The innermost datasets of training and of tests, with their steps; of version 3 or 2.

    Args:
        content: what `read_mmdet_config` returned.
    """
    if "train_dataloader" in content:
        parts = (content.get(f"{name}_dataloader") or {} for name in ("train", "val"))
        train, test = (part.get("dataset") or {} for part in parts)
    else:
        data = content.get("data") or {}
        train, test = data.get("train") or {}, data.get("val") or {}
    return list(_inner(train)), list(_inner(test))


def dataset_keys(content: Part, left_out: list[str]) -> Keys:
    """Keys of DATASETS and DATALOADER.

    Args:
        content: what `read_mmdet_config` returned.
        left_out: gets a sentence for each setting without a counterpart.
    """
    keys: Keys = {}
    train, test = datasets_of(content)
    for key, found in (("DATASETS.TRAIN", train), ("DATASETS.TEST", test)):
        names = [name for one in found for name in _strings(one, content, left_out)]
        if names:
            keys[key] = names
    loader = loader_of(content)
    workers = loader.get("num_workers", loader.get("workers_per_gpu"))
    if workers is not None:
        keys["DATALOADER.NUM_WORKERS"] = workers
    stated = [one.get("filter_cfg") or one for one in train]
    stated = [part["filter_empty_gt"] for part in stated if "filter_empty_gt" in part]
    if stated:
        keys["DATALOADER.FILTER_EMPTY_ANNOTATIONS"] = all(stated)
    if any(one.get("indices") is not None for one in train):
        left_out.append("A part of the images (indices): see ?fraction= and ?images= of datasets.")
    left_out += _other_loading(loader)
    evaluated = _labels(test)
    tested = content.get("test_dataloader") or (content.get("data") or {}).get("test") or {}
    tested = tested if "ann_file" in tested else tested.get("dataset") or {}
    others = [name for name in _labels(_inner(tested)) if name not in evaluated]
    if others and evaluated:
        left_out.append(f"The test set {', '.join(others)}: name it in DATASETS.TEST to use it.")
    return keys


def _other_loading(loader: Part) -> list[str]:
    """Sentences about orders of the images that are not the usual one."""
    usual = ("", "DefaultSampler", "InfiniteSampler", "AspectRatioBatchSampler")
    parts = (loader.get(key) or {} for key in ("sampler", "batch_sampler"))
    kinds = [kind_of(part) for part in parts if kind_of(part) not in usual]
    return [f"The sampler {kind}: see DATALOADER.SAMPLER_TRAIN." for kind in kinds]


def _labels(datasets: Iterator[Part] | Sequence[Part]) -> list[str]:
    return [str(one["ann_file"]) for one in datasets if one.get("ann_file")]


def _inner(dataset: Any, steps: Sequence[Any] = ()) -> Iterator[Part]:
    if isinstance(dataset, list | tuple):
        for one in dataset:
            yield from _inner(one, steps)
        return
    steps = [*dataset.get("pipeline", ()), *steps]
    if kind_of(dataset) in _WRAPPERS:
        yield from _inner(dataset.get("dataset") or {}, steps)
    elif kind_of(dataset) == "ConcatDataset":
        yield from _inner(dataset.get("datasets") or [], steps)
    elif dataset:
        yield {**dataset, "pipeline": steps}


def _strings(dataset: Part, content: Part, left_out: list[str]) -> list[str]:
    """The strings that name the same files: one for each label file."""
    kind = kind_of(dataset)
    root = dataset.get("data_root") or ""
    labels = dataset.get("ann_file") or ""
    prefix = dataset.get("data_prefix") or {}
    if isinstance(prefix, Mapping):
        prefix = prefix.get("img") or prefix.get("img_path") or ""
    images = prefix or dataset.get("img_prefix") or ""
    if isinstance(labels, list | tuple):
        folders = images if isinstance(images, list | tuple) else [images] * len(labels)
        pairs = [(_joined(root, a), _joined(root, b)) for a, b in zip(labels, folders, strict=True)]
    else:
        pairs = [(_joined(root, labels), _joined(root, images))]
    if kind not in ("CocoDataset", "VOCDataset"):
        files = ", ".join(file for file, _ in pairs)
        left_out.append(f"The dataset {kind}, {files}: name it by a dataset string in DATASETS.")
        return []
    chosen = _chosen(dataset, content, left_out)
    if kind == "VOCDataset":
        return [f"voc:{folder}@{PurePosixPath(file).stem}{chosen}" for file, folder in pairs]
    return [f"coco:{file}@{folder}{chosen}" for file, folder in pairs]


def _chosen(dataset: Part, content: Part, left_out: list[str]) -> str:
    """The option that chooses the classes; "" where the files decide."""
    known = dataset.get("metainfo") or {}
    classes = known.get("classes") or known.get("CLASSES") or dataset.get("classes")
    classes = classes or content.get("classes")
    if isinstance(classes, list | tuple) and not any("," in str(name) for name in classes):
        return f"?classes={','.join(classes)}"
    if classes:
        sentence = f"The classes {classes}: see ?classes= of datasets, or rename those with commas."
        left_out += [sentence] if sentence not in left_out else []
    return ""


def _joined(root: str, path: str) -> str:
    """A path in a folder, which may be an address: `pathlib` would make s3:/ of s3://."""
    if "://" in path or "://" not in root:
        return path if "://" in path else str(PurePosixPath(root) / path)
    return f"{root.rstrip('/')}/{path}".rstrip("/")
