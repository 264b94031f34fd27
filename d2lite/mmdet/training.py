"""MMDetection's settings of data, optimizer, schedule and augmentation, as keys of ours."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from .augmentation import augmentation_keys, test_size_keys
from .parts import Keys, Part, kind_of
from .run_keys import early_stopping_keys, run_keys

# Datasets that hold another one.
_WRAPPERS = ("MultiImageMixDataset", "RepeatDataset", "ClassBalancedDataset")
# Keys that count epochs, beside the steps of the schedule.
_EPOCHS = (
    "SOLVER.MAX_EPOCHS",
    "SOLVER.CHECKPOINT_EPOCHS",
    "SOLVER.WARMUP_EPOCHS",
    "TEST.EVAL_EPOCHS",
    "INPUT.MIXING_OFF_LAST_EPOCHS",
)


def training_keys(content: Part, left_out: list[str]) -> Keys:
    """Keys of DATASETS, INPUT, SOLVER and TEST.

    Args:
        content: what `read_mmdet_config` returned.
        left_out: gets a sentence for each setting without a counterpart.
    """
    train, test = _datasets(content)
    keys: Keys = {}
    for key, found in (("DATASETS.TRAIN", train), ("DATASETS.TEST", test)):
        names = [name for dataset in found if (name := _string(dataset, content, left_out))]
        if names:
            keys[key] = names
    keys |= augmentation_keys(
        [step for dataset in train for step in dataset.get("pipeline", ())],
        content["model"],
        left_out,
    )
    keys |= test_size_keys([step for dataset in test for step in dataset.get("pipeline", ())])
    keys |= _optimizer(content, left_out)
    keys |= _schedule(content, left_out)
    keys |= run_keys(content, left_out)
    return keys | _repeated(keys, content)


def _datasets(content: Part) -> tuple[list[Part], list[Part]]:
    """The innermost datasets of training and of tests, with their steps; of version 3 or 2."""
    if "train_dataloader" in content:
        parts = (content.get(f"{name}_dataloader") or {} for name in ("train", "val"))
        train, test = (part.get("dataset") or {} for part in parts)
    else:
        data = content.get("data") or {}
        train, test = data.get("train") or {}, data.get("val") or {}
    return list(_inner(train)), list(_inner(test))


def _repeated(keys: Keys, content: Part) -> Keys:
    """What counts epochs, where an epoch there shows each image several times."""
    holder = content.get("train_dataloader") or content.get("data") or {}
    outer = holder.get("dataset") or holder.get("train")
    times = 1
    while isinstance(outer, Mapping):
        times *= outer.get("times", 1) if kind_of(outer) == "RepeatDataset" else 1
        outer = outer.get("dataset")
    found = {key: keys[key] * times for key in _EPOCHS if key in keys}
    if "SOLVER.STEP_EPOCHS" in keys:
        found["SOLVER.STEP_EPOCHS"] = [step * times for step in keys["SOLVER.STEP_EPOCHS"]]
    return found


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


def _string(dataset: Part, content: Part, left_out: list[str]) -> str:
    """The string that names the same files."""
    kind = str(dataset.get("type", "")).rsplit(".", 1)[-1]
    root = dataset.get("data_root") or ""
    labels = dataset.get("ann_file") or ""
    if isinstance(labels, list | tuple):
        left_out.append(
            f"Of the label files {list(labels)} only the first is named; add the others."
        )
        labels = labels[0] if labels else ""
    prefix = dataset.get("data_prefix") or {}
    images = (
        (prefix.get("img") or prefix.get("img_path") or "")
        if isinstance(prefix, Mapping)
        else prefix
    )
    images = images or dataset.get("img_prefix") or ""
    labels, images = (_joined(root, part) for part in (labels, images))
    classes = (dataset.get("metainfo") or {}).get("classes") or dataset.get("classes")
    classes = classes or content.get("classes")
    chosen = f"?classes={','.join(classes)}" if isinstance(classes, list | tuple) else ""
    if kind == "VOCDataset":
        return f"voc:{images}@{PurePosixPath(labels).stem}{chosen}"
    if kind != "CocoDataset":
        left_out.append(f"The dataset {kind}, {labels}: name it by a dataset string in DATASETS.")
        return ""
    return f"coco:{labels}@{images}{chosen}"


def _joined(root: str, path: str) -> str:
    """A path in a folder, which may be an address: `pathlib` would make s3:/ of s3://."""
    if "://" in path or "://" not in root:
        return path if "://" in path else str(PurePosixPath(root) / path)
    return f"{root.rstrip('/')}/{path}".rstrip("/")


def _optimizer(content: Part, left_out: list[str]) -> Keys:
    wrapper = content.get("optim_wrapper") or {}
    part = wrapper.get("optimizer") or content.get("optimizer") or {}
    keys: Keys = {}
    kind = str(part.get("type", "")).rsplit(".", 1)[-1]
    if kind in ("SGD", "Adam", "AdamW"):
        decay = part.get("weight_decay", 0.0)
        keys = {
            "SOLVER.OPTIMIZER": kind,
            "SOLVER.BASE_LR": part["lr"],
            "SOLVER.WEIGHT_DECAY": decay,
        }
        if part.get("nesterov"):
            keys["SOLVER.NESTEROV"] = True
        if "momentum" in part:
            keys["SOLVER.MOMENTUM"] = part["momentum"]
        factors = wrapper.get("paramwise_cfg") or part.get("paramwise_cfg") or {}
        keys["SOLVER.WEIGHT_DECAY_NORM"] = decay * factors.get("norm_decay_mult", 1.0)
        keys["SOLVER.WEIGHT_DECAY_BIAS"] = decay * factors.get("bias_decay_mult", 1.0)
        keys["SOLVER.BIAS_LR_FACTOR"] = float(factors.get("bias_lr_mult", 1.0))
    elif kind:
        left_out.append(f"The optimizer {kind}: see SOLVER.OPTIMIZER (docs/training.md).")
    if wrapper.get("accumulative_counts", 1) != 1:
        left_out.append("Passes of a step (accumulative_counts): see SOLVER.ACCUMULATE_STEPS.")
    clip = wrapper.get("clip_grad") or (content.get("optimizer_config") or {}).get("grad_clip")
    if clip:
        keys["SOLVER.CLIP_GRADIENTS.ENABLED"] = True
        keys["SOLVER.CLIP_GRADIENTS.CLIP_TYPE"] = "full_model"
        keys["SOLVER.CLIP_GRADIENTS.CLIP_VALUE"] = float(clip["max_norm"])
    if str(wrapper.get("type", "")).startswith("Amp") or content.get("fp16"):
        keys["SOLVER.AMP.ENABLED"] = True
    return keys


def _schedule(content: Part, left_out: list[str]) -> Keys:
    loader = content.get("train_dataloader") or content.get("data") or {}
    each = loader.get("batch_size", loader.get("samples_per_gpu"))
    whole = (content.get("auto_scale_lr") or {}).get("base_batch_size")
    keys: Keys = {}
    if whole or each:
        # Recipes are for 8 GPUs; `base_batch_size` was often left at 16 where a GPU has more.
        keys["SOLVER.IMS_PER_BATCH"] = max(whole or 0, 8 * (each or 0))
    loop = content.get("train_cfg") or content.get("runner") or {}
    epochs = loop.get("max_epochs") or content.get("total_epochs")
    if epochs:
        keys["SOLVER.MAX_EPOCHS"] = float(epochs)
        keys["SOLVER.CHECKPOINT_EPOCHS"] = keys["TEST.EVAL_EPOCHS"] = float(
            loop.get("val_interval") or 1
        )
    elif loop.get("max_iters"):
        keys["SOLVER.MAX_ITER"] = loop["max_iters"]
    rules = content.get("param_scheduler")
    rules = [rules] if isinstance(rules, Mapping) else list(rules or _version_2(content))
    warmup_epochs = 0.0
    for rule in rules:
        kind = str(rule.get("type", "")).rsplit(".", 1)[-1]
        if kind in ("LinearLR", "QuadraticWarmupLR"):
            unit = "EPOCHS" if rule.get("by_epoch") else "ITERS"
            length = rule.get("end", 0)
            keys[f"SOLVER.WARMUP_{unit}"] = float(length) if unit == "EPOCHS" else length
            warmup_epochs = float(length) if unit == "EPOCHS" else 0.0
            start = rule.get("start_factor", 1 / 3 if kind == "LinearLR" else 0.001)
            keys["SOLVER.WARMUP_FACTOR"] = start
        elif kind == "MultiStepLR":
            keys["SOLVER.LR_SCHEDULER_NAME"] = "WarmupMultiStepLR"
            steps = list(rule["milestones"])
            is_by_epoch = epochs and rule.get("by_epoch", True)
            keys["SOLVER.STEP_EPOCHS" if is_by_epoch else "SOLVER.STEPS"] = steps
            if is_by_epoch:
                keys["SOLVER.STEPS"] = []
            keys["SOLVER.GAMMA"] = rule.get("gamma", 0.1)
        elif kind == "CosineAnnealingLR":
            begin = rule.get("begin", 0) if epochs and rule.get("by_epoch", True) else 0
            flat = begin / epochs if epochs and begin > warmup_epochs else 0
            keys["SOLVER.LR_SCHEDULER_NAME"] = "WarmupFlatCosineLR" if flat else "WarmupCosineLR"
            keys["SOLVER.BASE_LR_END"] = rule.get("eta_min", 0.0)
            keys["SOLVER.STEPS"] = []
            if flat:
                keys["SOLVER.FLAT_PART"] = flat
        elif kind != "ConstantLR" or rule.get("factor", 1 / 3) != 1:
            left_out.append(f"The schedule {kind}: see SOLVER.LR_SCHEDULER_NAME.")
    for hook in content.get("custom_hooks") or ():
        kind = str(hook.get("type", "")).rsplit(".", 1)[-1]
        if "EMA" in kind:
            keys["MODEL_EMA.ENABLED"] = True
            keys["MODEL_EMA.DECAY"] = 1 - hook.get("momentum", 0.0002)
        elif kind == "PipelineSwitchHook" and epochs and "switch_epoch" in hook:
            keys["INPUT.MIXING_OFF_LAST_EPOCHS"] = float(epochs - hook["switch_epoch"])
        elif kind == "YOLOXModeSwitchHook":
            keys["INPUT.MIXING_OFF_LAST_EPOCHS"] = float(hook.get("num_last_epochs", 15))
        elif kind == "EarlyStoppingHook":
            keys |= early_stopping_keys(hook, left_out)
        elif kind not in ("NumClassCheckHook", "CheckInvalidLossHook", "SyncNormHook"):
            left_out.append(f"The hook {kind}: see HOOKS and d2lite.engine.hooks.")
    return keys


def _version_2(content: Part) -> list[Keys]:
    """`lr_config` of version 2 in the form of version 3."""
    part = content.get("lr_config") or {}
    rules: list[Keys] = []
    if part.get("warmup"):
        factor, length = part.get("warmup_ratio", 0.1), part.get("warmup_iters", 0)
        rules.append({"type": "LinearLR", "start_factor": factor, "end": length})
    if part.get("policy") == "step":
        steps = part["step"] if isinstance(part["step"], list | tuple) else [part["step"]]
        rules.append(
            {"type": "MultiStepLR", "milestones": list(steps), "gamma": part.get("gamma", 0.1)}
        )
    elif part.get("policy") == "CosineAnnealing":
        rules.append({"type": "CosineAnnealingLR", "eta_min": part.get("min_lr", 0.0)})
    return rules
