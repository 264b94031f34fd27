"""Build the loaders that training and evaluation read from."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from d2lite.config import CfgNode, PythonRunConfig, configurable
from d2lite.utils.cores import usable_cores
from d2lite.utils.errors import ConfigError, DataError

from .catalog import MetadataCatalog
from .checking import check_class_maps, check_grey_levels, check_image_files
from .classes import check_metadata_consistency
from .common import AspectRatioGroupedDataset, DatasetFromList, MapDataset, ToIterableDataset
from .dataset_dicts import (
    check_is_annotated,
    filter_images_with_few_keypoints,
    filter_images_with_only_crowd_annotations,
    get_detection_dataset_dicts,
    print_instances_class_histogram,
)
from .dataset_mapper import DatasetMapper
from .loading import (
    Collate,
    ReportingLoader,
    StreamLoader,
    build_batch_data_loader,
    trivial_batch_collator,
    worker_init_reset_seed,
)
from .records.proposals import load_proposals_into_dataset
from .records.set_checks import check_keypoints
from .samplers import (
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from .samplers.distributed_sampler import stream_order
from .samplers.training_sampler import seed_of, training_sampler

__all__ = [
    "AspectRatioGroupedDataset",
    "DatasetFromList",
    "DatasetMapper",
    "InferenceSampler",
    "MapDataset",
    "RandomSubsetTrainingSampler",
    "RepeatFactorTrainingSampler",
    "ToIterableDataset",
    "TrainingSampler",
    "build_batch_data_loader",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "check_metadata_consistency",
    "filter_images_with_few_keypoints",
    "filter_images_with_only_crowd_annotations",
    "get_detection_dataset_dicts",
    "load_proposals_into_dataset",
    "print_instances_class_histogram",
    "trivial_batch_collator",
    "worker_init_reset_seed",
]

Mapper = Callable[[dict[str, Any]], Any]


def _num_workers(cfg: CfgNode) -> int:
    """DATALOADER.NUM_WORKERS; its default is lowered to the number of cores."""
    wanted = cfg.DATALOADER.NUM_WORKERS
    if not cfg.is_default("DATALOADER.NUM_WORKERS"):
        return wanted
    # More workers than cores only wait for each other, and torch warns of them. Samples do not
    # depend on the number.
    return min(wanted, usable_cores())


# Models that learn maps of classes, numbered as in the files.
_LEARN_MAPS = ("SemanticSegmentor", "PanopticFPN")


def _train_loader_from_config(
    cfg: CfgNode,
    mapper: Mapper | None = None,
    *,
    dataset: Any = None,
    sampler: Sampler[Any] | None = None,
) -> dict[str, Any]:
    """The arguments of `build_detection_train_loader` that a configuration says."""
    if isinstance(cfg, PythonRunConfig):
        given = {"mapper": mapper, "dataset": dataset, "sampler": sampler}
        return {
            "seed": seed_of(cfg),
            **cfg.arguments("dataloader.train"),
            **{name: value for name, value in given.items() if value is not None},
        }
    max_bad_share = cfg.DATALOADER.MAX_BAD_SHARE
    if not 0 <= max_bad_share <= 1:
        raise ConfigError(f"DATALOADER.MAX_BAD_SHARE is {max_bad_share}; it is a share, 0 to 1.")
    if dataset is None:
        dataset = _training_records(cfg, mapper)
    return {
        "dataset": dataset,
        "sampler": training_sampler(cfg, dataset) if sampler is None else sampler,
        "mapper": DatasetMapper(cfg, True) if mapper is None else mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "aspect_ratio_grouping": cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        "num_workers": _num_workers(cfg),
        "prefetch_factor": cfg.DATALOADER.PREFETCH,
        # A thread copies images to memory that a GPU reads by itself, while others compute.
        "pin_memory": _num_workers(cfg) > 0
        and str(cfg.MODEL.DEVICE).startswith("cuda")
        and torch.cuda.is_available(),
        "seed": seed_of(cfg),
        "max_bad_share": max_bad_share,
    }


def _training_records(cfg: CfgNode, mapper: Mapper | None) -> Any:
    """What `DATASETS.TRAIN` names, checked for what the model learns from it."""
    names, keypoints = cfg.DATASETS.TRAIN, cfg.MODEL.KEYPOINT_ON
    if not len(names):
        raise ConfigError(
            "DATASETS.TRAIN is empty, so there is nothing to train on. Name a registered set, "
            "for instance DATASETS.TRAIN \"('shapes_train',)\"."
        )
    dataset = get_detection_dataset_dicts(
        names,
        filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
        min_keypoints=cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if keypoints else 0,
        proposal_files=cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None,
        max_bad_share=cfg.DATALOADER.MAX_BAD_SHARE,
        repeats=cfg.DATASETS.TRAIN_REPEATS,
        # Mappers of people's own may find masks and images by other means.
        mask_format=cfg.INPUT.MASK_FORMAT if cfg.MODEL.MASK_ON and mapper is None else None,
    )
    if not isinstance(dataset, list):
        return dataset
    if keypoints and (mapper is None or isinstance(mapper, DatasetMapper)):
        check_keypoints(dataset, names, cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS)
    if mapper is None:
        check_is_annotated(dataset, names)
        check_image_files(dataset, cfg.DATALOADER.MAX_BAD_SHARE)
        check_grey_levels(dataset, cfg.INPUT.FORMAT)
        if cfg.MODEL.META_ARCHITECTURE in _LEARN_MAPS:
            head = cfg.MODEL.SEM_SEG_HEAD
            # A number that does not fit the classes is reported later, with their names.
            known = [MetadataCatalog.get(name).get("stuff_classes") for name in names]
            check_class_maps(
                dataset, len(known[0]) if known[0] else head.NUM_CLASSES, head.IGNORE_VALUE
            )
    return dataset


@configurable(from_config=_train_loader_from_config)  # type: ignore[untyped-decorator]
def build_detection_train_loader(
    dataset: Any,
    *,
    mapper: Mapper | None,
    sampler: Sampler[Any] | None = None,
    total_batch_size: int,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Collate | None = None,
    **kwargs: Any,
) -> StreamLoader:
    """Build the endless loader that a detector trains on.

    Args:
        dataset: what to train on, as dataset dicts or as any dataset of torch. A `CfgNode` in its
            place gives all arguments.
        mapper: dataset dict -> sample, or None for "take another image"; None for no mapping.
        sampler: yields the indices of this process; shuffles everything if None.
        total_batch_size: images of a batch over all processes.
        aspect_ratio_grouping: batch wide images with wide ones.
        num_workers: loader processes.
        collate_fn: list of samples -> batch; None leaves the list.
        kwargs: further arguments of `build_batch_data_loader`.

    Returns:
        A loader of batches (lists of samples, each a dict with its "draw_key"), with
        `seek(batch)` and `batches_per_epoch`.

    Raises:
        DataError: if there are no images.
    """
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if sampler is None and not isinstance(dataset, IterableDataset):
        if not len(dataset):
            raise DataError(
                "The training dataset is empty. Check DATASETS.TRAIN, and whether "
                "DATALOADER.FILTER_EMPTY_ANNOTATIONS left anything."
            )
        sampler = TrainingSampler(len(dataset), seed=kwargs.get("seed"))
    if mapper is not None:
        if getattr(mapper, "needs_partners", False) and not isinstance(dataset, IterableDataset):
            with_partners = mapper.with_partners  # type: ignore[attr-defined]  # a DatasetMapper
            mapper = with_partners(dataset, stream_order(sampler))
        dataset = MapDataset(dataset, mapper)
    return build_batch_data_loader(
        dataset,
        sampler,
        total_batch_size,
        aspect_ratio_grouping=aspect_ratio_grouping,
        num_workers=num_workers,
        collate_fn=collate_fn,
        **kwargs,
    )


def _test_loader_from_config(
    cfg: CfgNode, dataset_name: str | Sequence[str], mapper: Mapper | None = None
) -> dict[str, Any]:
    """The arguments of `build_detection_test_loader` that a configuration says."""
    names = [dataset_name] if isinstance(dataset_name, str) else list(dataset_name)
    if isinstance(cfg, PythonRunConfig):
        arguments = cfg.arguments(
            "dataloader.test", {"dataloader.test.dataset.names": dataset_name}
        )
        return {**arguments, **({} if mapper is None else {"mapper": mapper})}
    files = None
    if cfg.MODEL.LOAD_PROPOSALS:
        tests = list(cfg.DATASETS.TEST)
        files = [cfg.DATASETS.PROPOSAL_FILES_TEST[tests.index(name)] for name in names]
    dataset = get_detection_dataset_dicts(names, filter_empty=False, proposal_files=files)
    return {
        "dataset": dataset,
        "mapper": DatasetMapper(cfg, False) if mapper is None else mapper,
        "sampler": None,
        "batch_size": cfg.TEST.IMS_PER_BATCH,
        "num_workers": _num_workers(cfg),
    }


class _EveryImage(MapDataset):
    """A mapped dataset for evaluation: no image may be left out or replaced by another."""

    def __getitem__(self, idx: int) -> Any:
        sample = self.try_get(idx)
        if sample is None:
            raise DataError(
                f"The mapper returned None for element {idx} of a test set. Evaluation needs "
                "every image; let the mapper of the test loader refuse none."
            )
        return sample


@configurable(from_config=_test_loader_from_config)  # type: ignore[untyped-decorator]
def build_detection_test_loader(
    dataset: list[Any] | Dataset[Any],
    *,
    mapper: Callable[[dict[str, Any]], Any] | None,
    sampler: Sampler[Any] | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
) -> DataLoader[Any]:
    """Build the loader that evaluation reads: every image once over all processes, in order.

    Args:
        dataset: what to evaluate on, as dataset dicts or as any dataset of torch. A `CfgNode` and
            a dataset's name in its place give all arguments.
        mapper: dataset dict -> sample; None for no mapping.
        sampler: yields the indices of this process; each process gets a contiguous part if None.
        batch_size: images of this process's batch.
        num_workers: loader processes.
        collate_fn: list of samples -> batch; None leaves the list.

    Returns:
        A torch DataLoader.
    """
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if isinstance(dataset, IterableDataset):
        if sampler is not None:
            raise ConfigError("An iterable dataset takes no sampler: it has an order of its own.")
    elif sampler is None:
        sampler = InferenceSampler(len(dataset))  # type: ignore[arg-type]
    if mapper is not None:
        wrap = MapDataset if isinstance(dataset, IterableDataset) else _EveryImage
        dataset = wrap(dataset, mapper)
    return ReportingLoader(
        dataset,
        sampler=sampler,
        batch_size=batch_size,
        drop_last=False,
        num_workers=num_workers,
        collate_fn=collate_fn,
    )
