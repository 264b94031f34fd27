"""What a run was like when it was saved, and what of it is different when it goes on."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from d2lite.config import CfgNode
from d2lite.data import MetadataCatalog
from d2lite.data.common import DatasetFromList
from d2lite.utils import comm

# Records looked at to know data again; all of COCO's would take seconds.
_MAX_RECORDS = 1000

# Of the metadata of a dataset, what pictures of predictions need beside the class names.
DRAWING_KEYS = (
    "thing_colors",
    "stuff_classes",
    "stuff_colors",
    "keypoint_names",
    "keypoint_connection_rules",
)

# Keys that may differ from one part of a run to the next without a warning.
_FREE = (
    "OUTPUT_DIR",
    "VERSION",
    "SEED",
    "VIS_PERIOD",
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.PREFETCH",
    "SOLVER.CHECKPOINT",
    "TEST.LOG_PERIOD",
    "TEST.IMS_PER_BATCH",
)

_OTHER_SAMPLES = "from here on the samples are others than those of a run that was never stopped"

# What a change of the keys with this beginning means; the first that fits counts.
_MEANINGS = (
    ("SOLVER.MAX_ITER", "the schedule is computed again for this length"),
    ("SOLVER.IMS_PER_BATCH", _OTHER_SAMPLES),
    ("SOLVER.ACCUMULATE_STEPS", "the sums are rounded otherwise"),
    ("SOLVER.", "takes effect from here on"),
    ("DATASETS.TRAIN", _OTHER_SAMPLES),
    ("DATALOADER.", _OTHER_SAMPLES),
    ("INPUT.", "images look different from here on"),
    ("MODEL.", "the model behaves differently from here on"),
)

# Keys whose change makes the saved state one of another run.
_REFUSED = {
    "MODEL.META_ARCHITECTURE": "the weights are those of another model",
    "SOLVER.OPTIMIZER": "its state is that of another optimizer",
    "MODEL_EMA.ENABLED": "averaging weights cannot begin or end in the middle of a run",
}


def collect_run_facts(data_loader: Any) -> dict[str, Any]:
    """What a checkpoint has to tell of its run beside the config.

    Args:
        data_loader: of the training.

    Returns:
        Plain values: number of processes, number of images and a digest of them. What is not
        known is left out.
    """
    return {"num_processes": comm.get_world_size(), **_identify_data(data_loader)}


def names_for_drawing(dataset_names: Sequence[str]) -> dict[str, Any]:
    """What a prediction needs of the metadata of the training data, beside the class names.

    Args:
        dataset_names: of the training sets; the first one counts.

    Returns:
        Plain values by the keys of `Metadata`; what a set does not have is left out.
    """
    if not len(dataset_names):
        return {}
    metadata = MetadataCatalog.get(dataset_names[0])
    found = {key: metadata.get(key) for key in DRAWING_KEYS}
    return {key: _plain(value) for key, value in found.items() if value}


def _plain(value: Any) -> Any:
    """Lists in the place of tuples, as another reader of the file expects them."""
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _identify_data(data_loader: Any) -> dict[str, Any]:
    dataset = data_loader
    while not isinstance(dataset, DatasetFromList):
        dataset = getattr(dataset, "dataset", None)
        if dataset is None:
            return {}
    count = len(dataset)
    digest = hashlib.sha256()
    for index in range(0, count, max(count // _MAX_RECORDS, 1)):
        record = dataset[index]
        if isinstance(record, Mapping):
            # Names without their folder, since data may lie elsewhere on another machine.
            name = Path(str(record.get("file_name", ""))).name
            digest.update(f"{name} {len(record.get('annotations', ()))}\n".encode())
    return {"num_images": count, "data_digest": digest.hexdigest()[:16]}


def describe_changes(
    facts_then: Mapping[str, Any], facts_now: Mapping[str, Any], config_then: str, cfg: CfgNode
) -> list[str]:
    """Say what is different from when the run was saved.

    Args:
        facts_then: what `collect_run_facts` found then; empty if it is not known.
        facts_now: what it finds now.
        config_then: the config of that time in YAML; "" if it is not known.
        cfg: the config of now.

    Returns:
        A line for each change, with what it means.
    """
    lines = []
    before, now = (facts.get("num_processes") for facts in (facts_then, facts_now))
    if before is not None and before != now:
        lines.append(
            f"{before} -> {now} processes: the batches stay the same, the sums are rounded "
            "otherwise"
        )
    before, now = (facts.get("num_images") for facts in (facts_then, facts_now))
    if None not in (before, now) and before != now:
        lines.append(f"{before} -> {now} training images: {_OTHER_SAMPLES}")
    elif facts_then.get("data_digest", "") != facts_now.get("data_digest", "") and before and now:
        lines.append(f"other training images or annotations than before: {_OTHER_SAMPLES}")
    for key, old, new in _changed_keys(config_then, cfg):
        if not key.startswith(_FREE):
            meaning = next((text for start, text in _MEANINGS if key.startswith(start)), "")
            lines.append(f"{key} {old} -> {new}" + (f": {meaning}" if meaning else ""))
    return lines


def list_refused_changes(config_then: str, cfg: CfgNode) -> list[str]:
    """Say which changes make going on wrong.

    Args:
        config_then: the config when the run was saved, in YAML; "" if it is not known.
        cfg: the config of now.

    Returns:
        A line for each.
    """
    return [
        f"{key} {old} -> {new}: {_REFUSED[key]}"
        for key, old, new in _changed_keys(config_then, cfg)
        if key in _REFUSED
    ]


def is_readable_config(text: Any) -> bool:
    """Whether the config in a checkpoint is one, so that its options can be compared.

    Args:
        text: what the checkpoint holds.
    """
    try:
        return isinstance(text, str) and isinstance(_keys_of(text), dict)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return False


def _keys_of(config: str) -> dict[str, Any]:
    return dict(CfgNode(yaml.safe_load(config) or {}).keys_and_values())


def _changed_keys(config_then: str, cfg: CfgNode) -> Iterator[tuple[str, Any, Any]]:
    then, now = _keys_of(config_then), _keys_of(cfg.dump())
    for key in sorted(then.keys() & now.keys()):
        if then[key] != now[key]:
            yield key, then[key], now[key]
