"""MMDetection's settings of data, optimizer, schedule and augmentation, as keys of ours."""

from collections.abc import Mapping

from .augmentation import augmentation_keys, test_size_keys
from .dataset_strings import dataset_keys, datasets_of
from .parts import Keys, Part, kind_of, loader_of, loop_of, outer_set_of
from .run_keys import early_stopping_keys, run_keys

# Keys that count epochs, beside the steps of the schedule.
_EPOCHS = (
    "SOLVER.MAX_EPOCHS",
    "SOLVER.CHECKPOINT_EPOCHS",
    "SOLVER.WARMUP_EPOCHS",
    "TEST.EVAL_EPOCHS",
    "INPUT.MIXING_OFF_LAST_EPOCHS",
)
# And those that count passes.
_PASSES = (
    "SOLVER.MAX_ITER",
    "SOLVER.WARMUP_ITERS",
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.EVAL_PERIOD",
    "LOG_PERIOD",
)


def training_keys(content: Part, left_out: list[str]) -> Keys:
    """Keys of DATASETS, DATALOADER, INPUT, SOLVER and TEST.

    Args:
        content: what `read_mmdet_config` returned.
        left_out: gets a sentence for each setting without a counterpart.
    """
    train, test = datasets_of(content)
    keys = dataset_keys(content, left_out)
    keys |= augmentation_keys(
        [step for dataset in train for step in dataset.get("pipeline", ())],
        content["model"],
        left_out,
    )
    keys |= test_size_keys([step for dataset in test for step in dataset.get("pipeline", ())])
    keys |= _optimizer(content, left_out)
    keys |= _schedule(content, left_out)
    keys |= run_keys(content, left_out)
    keys |= _repeated(keys, content)
    return keys | _accumulated(keys, content)


def _repeated(keys: Keys, content: Part) -> Keys:
    """What counts epochs, where an epoch there shows each image several times."""
    outer, times = outer_set_of(content), 1
    while isinstance(outer, Mapping):
        times *= outer.get("times", 1) if kind_of(outer) == "RepeatDataset" else 1
        outer = outer.get("dataset")
    found = {key: keys[key] * times for key in _EPOCHS if key in keys}
    if "SOLVER.STEP_EPOCHS" in keys:
        found["SOLVER.STEP_EPOCHS"] = [step * times for step in keys["SOLVER.STEP_EPOCHS"]]
    return found


def _optimizer(content: Part, left_out: list[str]) -> Keys:
    wrapper = content.get("optim_wrapper") or {}
    part = wrapper.get("optimizer") or content.get("optimizer") or {}
    keys: Keys = {}
    kind = kind_of(part)
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
        left_out += _other_rates(factors, wrapper.get("constructor") or part.get("constructor"))
    elif kind:
        left_out.append(f"The optimizer {kind}: see SOLVER.OPTIMIZER (docs/training.md).")
    clip = wrapper.get("clip_grad") or (content.get("optimizer_config") or {}).get("grad_clip")
    if clip:
        keys["SOLVER.CLIP_GRADIENTS.ENABLED"] = True
        keys["SOLVER.CLIP_GRADIENTS.CLIP_TYPE"] = "full_model"
        keys["SOLVER.CLIP_GRADIENTS.CLIP_VALUE"] = float(clip["max_norm"])
    if str(wrapper.get("type", "")).startswith("Amp") or content.get("fp16"):
        keys["SOLVER.AMP.ENABLED"] = True
    if "bfloat16" in str(wrapper.get("dtype", "")):
        keys["SOLVER.AMP.PRECISION"] = "bfloat16"
    return keys


def _other_rates(factors: Part, constructor: str | None) -> list[str]:
    """Sentences about rates of single parameters."""
    sentences = []
    if names := factors.get("custom_keys"):
        sentences.append(
            f"Rates and decay by names of parameters (custom_keys {', '.join(names)}): see "
            "SOLVER.PARAM_GROUPS, or SOLVER.BACKBONE_MULTIPLIER where a project has it."
        )
    if constructor and "Default" not in constructor:
        sentences.append(f"The rates of {constructor}: see SOLVER.LAYER_DECAY.")
    return sentences


def _accumulated(keys: Keys, content: Part) -> Keys:
    """What counts images and passes, where a step there is of several passes."""
    counts = (content.get("optim_wrapper") or {}).get("accumulative_counts", 1)
    counts = (content.get("optimizer_config") or {}).get("cumulative_iters", counts)
    if counts == 1:
        return {}
    found: Keys = {"SOLVER.ACCUMULATE_STEPS": counts}
    if "SOLVER.IMS_PER_BATCH" in keys:
        found["SOLVER.IMS_PER_BATCH"] = keys["SOLVER.IMS_PER_BATCH"] * counts
    found |= {key: max(keys[key] // counts, 1) for key in _PASSES if keys.get(key)}
    if "SOLVER.STEPS" in keys:
        found["SOLVER.STEPS"] = [step // counts for step in keys["SOLVER.STEPS"]]
    return found


def _schedule(content: Part, left_out: list[str]) -> Keys:
    keys = _length(content)
    epochs = keys.get("SOLVER.MAX_EPOCHS")
    return keys | _rates(content, epochs, left_out) | _hooks(content, epochs, left_out)


def _length(content: Part) -> Keys:
    """Images of a step, steps or epochs, and how often the model is evaluated."""
    loader, loop = loader_of(content), loop_of(content)
    each = loader.get("batch_size", loader.get("samples_per_gpu"))
    whole = (content.get("auto_scale_lr") or {}).get("base_batch_size")
    keys: Keys = {}
    if whole or each:
        # Recipes are for 8 GPUs; `base_batch_size` was often left at 16 where a GPU has more.
        keys["SOLVER.IMS_PER_BATCH"] = max(whole or 0, 8 * (each or 0))
    epochs = loop.get("max_epochs") or content.get("total_epochs")
    interval = loop.get("val_interval") or (content.get("evaluation") or {}).get("interval")
    if epochs:
        keys["SOLVER.MAX_EPOCHS"] = float(epochs)
        keys["SOLVER.CHECKPOINT_EPOCHS"] = keys["TEST.EVAL_EPOCHS"] = float(interval or 1)
    elif loop.get("max_iters"):
        keys["SOLVER.MAX_ITER"] = loop["max_iters"]
        if interval:
            keys["TEST.EVAL_PERIOD"] = interval
    return keys


def _rates(content: Part, epochs: float | None, left_out: list[str]) -> Keys:
    """The learning rate over the training; `epochs` is None for one that counts steps."""
    rules = content.get("param_scheduler")
    rules = [rules] if isinstance(rules, Mapping) else list(rules or _version_2(content))
    keys: Keys = {}
    warmup_epochs = 0.0
    for rule in rules:
        kind = kind_of(rule)
        if kind in ("LinearLR", "QuadraticWarmupLR"):
            length = rule.get("end", 0)
            if rule.get("by_epoch"):
                keys["SOLVER.WARMUP_EPOCHS"] = warmup_epochs = float(length)
            else:
                keys["SOLVER.WARMUP_ITERS"], warmup_epochs = length, 0.0
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
    return keys


def _hooks(content: Part, epochs: float | None, left_out: list[str]) -> Keys:
    keys: Keys = {}
    for hook in content.get("custom_hooks") or ():
        kind = kind_of(hook)
        if "EMA" in kind:
            keys["MODEL_EMA.ENABLED"] = True
            keys["MODEL_EMA.DECAY"] = 1 - hook.get("momentum", 0.0002)
        elif kind == "PipelineSwitchHook" and epochs and "switch_epoch" in hook:
            keys["INPUT.MIXING_OFF_LAST_EPOCHS"] = epochs - hook["switch_epoch"]
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
        is_by_epoch = bool(part.get("warmup_by_epoch"))
        rules.append(
            {"type": "LinearLR", "start_factor": factor, "end": length, "by_epoch": is_by_epoch}
        )
    if part.get("policy") == "step":
        steps = part["step"] if isinstance(part["step"], list | tuple) else [part["step"]]
        rules.append(
            {"type": "MultiStepLR", "milestones": list(steps), "gamma": part.get("gamma", 0.1)}
        )
    elif part.get("policy") == "CosineAnnealing":
        rules.append({"type": "CosineAnnealingLR", "eta_min": part.get("min_lr", 0.0)})
    elif part.get("policy"):
        rules.append({"type": part["policy"]})  # listed as one without a counterpart
    return rules
