"""MMDetection's settings of a run, its hooks and its sampler, as keys of ours."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .parts import Keys, Part, kind_of, loop_of, outer_set_of

_SCORES = {"": "AP", "_50": "AP50", "_75": "AP75", "_s": "APs", "_m": "APm", "_l": "APl"}


def run_keys(content: Part, left_out: list[str]) -> Keys:
    """Keys of checkpoints, of the log, of start weights, and of how often images are shown.

    Args:
        content: what `read_mmdet_config` returned.
        left_out: gets a sentence for each setting without a counterpart.
    """
    hooks = content.get("default_hooks") or {}
    saving = hooks.get("checkpoint") or content.get("checkpoint_config") or {}
    logging = hooks.get("logger") or content.get("log_config") or {}
    best = saving.get("save_best") or (content.get("evaluation") or {}).get("save_best")
    seed = (content.get("randomness") or {}).get("seed", content.get("seed"))
    keys: Keys = {
        "LOG_PERIOD": logging.get("interval"),
        "SOLVER.CHECKPOINT_MAX_TO_KEEP": max(saving.get("max_keep_ckpts") or 0, 0) or None,
        "SEED": seed,
        "DETERMINISTIC": (content.get("randomness") or content).get("deterministic") or None,
        "OUTPUT_DIR": content.get("work_dir"),
        "MODEL.WEIGHTS": content.get("load_from"),
    }
    left_out += _unused(content)
    is_by_epoch = saving.get("by_epoch", "max_iters" not in loop_of(content))
    if saving.get("interval", 0) > 0:
        unit = ("EPOCHS", float) if is_by_epoch else ("PERIOD", int)
        keys[f"SOLVER.CHECKPOINT_{unit[0]}"] = unit[1](saving["interval"])
    if best:
        best = best[0] if isinstance(best, list | tuple) else best
        keys["SOLVER.BEST_CHECKPOINT.METRIC"] = _metric(best, "BEST_CHECKPOINT", left_out)
    for part in _nested(content):
        if kind_of(part) == "ClassBalancedDataset":
            keys["DATALOADER.SAMPLER_TRAIN"] = "RepeatFactorTrainingSampler"
            keys["DATALOADER.REPEAT_THRESHOLD"] = float(part["oversample_thr"])
    return {key: value for key, value in keys.items() if value is not None}


def _unused(content: Part) -> Iterator[str]:
    """Sentences about settings of the whole run that have no key, or are options here."""
    if imports := content.get("custom_imports"):
        names = imports.get("imports", ()) if isinstance(imports, Mapping) else imports
        listed = names if isinstance(names, str) else ", ".join(names)
        yield f"The modules {listed} (custom_imports): see docs/extending.md and --import."
    if content.get("resume") or content.get("resume_from"):
        yield "That the run goes on from a checkpoint (resume): see --resume of d2lite train."
    if content.get("tta_model") or content.get("tta_pipeline"):
        yield "Test-time augmentation (tta_model): see TEST.AUG."
    loop = content.get("train_cfg") or {}
    for key in ("dynamic_intervals", "val_begin"):
        if loop.get(key) not in (None, 1):
            yield f"When evaluations are ({key}): see TEST.EVAL_EPOCHS."
    backends = (content.get("visualizer") or {}).get("vis_backends") or ()
    writers = [*backends, *((content.get("log_config") or {}).get("hooks") or ())]
    for kind in dict.fromkeys(map(kind_of, writers)):
        if kind not in ("LocalVisBackend", "TextLoggerHook", "") and "ensorboard" not in kind:
            yield f"The writer {kind}: see WRITERS."


def early_stopping_keys(hook: Part, left_out: list[str]) -> Keys:
    """Keys of an `EarlyStoppingHook`, whose scores are of 1 and ours of 100."""
    metric = _metric(hook["monitor"], "EARLY_STOPPING", left_out)
    if metric is None:
        return {}
    return {
        "SOLVER.EARLY_STOPPING.METRIC": metric,
        "SOLVER.EARLY_STOPPING.PATIENCE": hook.get("patience", 5),
        "SOLVER.EARLY_STOPPING.MIN_DELTA": 100 * hook.get("min_delta", 0.1),
    }


def _metric(name: str, section: str, left_out: list[str]) -> str | None:
    """Our name of a score, such as bbox/AP50 of coco/bbox_mAP_50."""
    if name == "auto":
        return "bbox/AP"
    if name in ("pascal_voc/mAP", "mAP"):
        return "bbox/AP50"
    found = re.fullmatch(r"(?:coco/)?(bbox|segm)_mAP(_\w+)?", name)
    if found is None or (found[2] or "") not in _SCORES:
        left_out.append(f"The score {name}: see SOLVER.{section}.METRIC.")
        return None
    return f"{found[1]}/{_SCORES[found[2] or '']}"


def _nested(content: Part) -> Iterator[Part]:
    """The training set and the sets that it holds."""
    waiting: list[Any] = [outer_set_of(content)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list | tuple):
            waiting += part
        elif isinstance(part, Mapping):
            yield part
            waiting += [part.get("dataset"), part.get("datasets")]
