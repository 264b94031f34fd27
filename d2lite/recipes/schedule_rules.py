"""Rules about the schedule: batch, iterations, rate, averaging, evaluation and patience."""

import math
from typing import Any

import numpy as np

from .facts import Facts
from .keys import Keys
from .setting import Setting

# Recipe -> how many times as many images are seen as with "balanced".
_LENGTH = {"fast": 0.6, "balanced": 1.0, "accurate": 1.0}
# Images of a step and process, where nothing else decides.
_FEW = 4


def batch(facts: Facts, keys: Keys, recipe: str) -> Setting:
    """Four images on a CPU; on a GPU as many as its memory holds, up to 16 over all processes.

    What an image takes is measured with the heaviest ones. Where fewer than four fit, a step of
    four is made in several passes.
    """
    each, passes = _FEW, 1
    if not facts.gpu_memory or facts.measure_memory is None:
        evidence = "on a CPU larger batches take longer in proportion"
        count = _FEW * facts.processes
    else:
        used = facts.measure_memory(keys.cfg, facts.heaviest, facts.classes)
        room = max((facts.gpu_memory - used.fixed) / max(used.image, 1e-6), 1)
        if room < _FEW:
            passes = math.ceil(_FEW / math.floor(room))
        else:
            each = min(2 ** math.floor(math.log2(room)), 16)
        count = min(each * facts.processes, max(16, facts.processes))
        evidence = (
            f"the heaviest image takes {used.image:.2f} GiB, the model {used.fixed:.2f}, and "
            f"{facts.gpu_memory:.0f} GiB hold {room:.0f} such images"
        )
    count = max(facts.processes, min(count, facts.num_images // facts.processes * facts.processes))
    passes = min(passes, count // facts.processes)
    keys_to_set = {"SOLVER.IMS_PER_BATCH": count}
    if passes > 1:
        keys_to_set["SOLVER.ACCUMULATE_STEPS"] = passes
    value = f"{count} images" + (f" in {passes} passes" if passes > 1 else "")
    return Setting("batch", keys_to_set, value, evidence)


def iterations(facts: Facts, keys: Keys, recipe: str) -> Setting:
    """Few images are seen more often: epochs fall with the root of their number, to 12.

    18 photographs (fruit_nuts) were learned in 89 epochs, 292 (BCCD) in 11 and 800 drawings in 5;
    COCO takes 12 epochs and more.
    """
    epochs = float(np.clip(80 * math.sqrt(20 / facts.num_images), 12, 100)) * _LENGTH[recipe]
    seen = max(1600.0, epochs * facts.num_images)
    size = int(keys["SOLVER.IMS_PER_BATCH"])
    count = max(100, round(seen / size))
    epochs = count * size / facts.num_images
    evidence = f"{facts.num_images} images at {size} a step are seen {epochs:.0f} times each"
    return Setting("iterations", {"SOLVER.MAX_ITER": count}, str(count), evidence)


def periods(facts: Facts, keys: Keys, recipe: str) -> Setting:
    """Warm up for a twentieth of the run, save five times, keep the share of steps of the rate."""
    count = int(keys["SOLVER.MAX_ITER"])
    warmup = min(max(count // 20, min(20, count // 2)), 1000)
    changes: dict[str, Any] = {
        "SOLVER.WARMUP_ITERS": warmup,
        "SOLVER.CHECKPOINT_PERIOD": max(count // 5, 100),
    }
    # A cosine has no steps.
    if "Step" in keys["SOLVER.LR_SCHEDULER_NAME"] and keys.before("SOLVER.STEPS"):
        share = count / keys.before("SOLVER.MAX_ITER")
        changes["SOLVER.STEPS"] = tuple(round(step * share) for step in keys.before("SOLVER.STEPS"))
    value = (
        f"{warmup} iterations of warm-up, a checkpoint every {changes['SOLVER.CHECKPOINT_PERIOD']}"
    )
    return Setting("periods", changes, value, f"there are {count} iterations")


def rate(facts: Facts, keys: Keys, recipe: str) -> Setting:
    """Scale the rate of the base config to the batch: by its root for AdamW, linearly for SGD."""
    size, base = int(keys["SOLVER.IMS_PER_BATCH"]), int(keys.before("SOLVER.IMS_PER_BATCH"))
    is_adam = keys["SOLVER.OPTIMIZER"] == "AdamW"
    factor = math.sqrt(size / base) if is_adam else size / base
    value = float(f"{keys.before('SOLVER.BASE_LR') * factor:.3g}")
    rule = "the root of the batch, for AdamW" if is_adam else "the batch, for SGD"
    evidence = f"{keys.before('SOLVER.BASE_LR'):g} at {base} images grows with {rule}"
    return Setting("rate", {"SOLVER.BASE_LR": value}, f"{value:g}", evidence)


def averaging(facts: Facts, keys: Keys, recipe: str) -> Setting:
    """Average the weights over some six tenths of the run, as was measured best on BCCD."""
    count = int(keys["SOLVER.MAX_ITER"])
    decay = round(float(np.clip(1 - 1 / (0.6 * count), 0.99, 0.9998)), 4)
    changes = {"MODEL_EMA.DECAY": decay, "MODEL_EMA.ENABLED": True}
    return Setting("averaged weights", changes, f"decay {decay}", f"there are {count} iterations")


def evaluation(facts: Facts, keys: Keys, recipe: str) -> Setting | None:
    """Evaluate some times in a long run, keep the best weights, and stop where nothing improves."""
    count = int(keys["SOLVER.MAX_ITER"])
    if not facts.has_test or count < 2000:
        return None
    period = count // 10
    metric = "segm/AP" if keys["MODEL.MASK_ON"] else "bbox/AP"
    changes = {
        "SOLVER.EARLY_STOPPING.PATIENCE": 5,
        "SOLVER.EARLY_STOPPING.METRIC": metric,
        "SOLVER.BEST_CHECKPOINT.METRIC": metric,
        "TEST.EVAL_PERIOD": period,
    }
    evidence = f"{count} iterations are evaluated every {period}, and half of them are waited for"
    return Setting("patience", changes, f"5 evaluations without a better {metric}", evidence)
