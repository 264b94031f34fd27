"""Learning rates over a run, as multiples of the base rate: 1, then 0.1, then 0.01."""

from fvcore.common.param_scheduler import MultiStepParamScheduler

from d2lite.config import LazyCall as L
from d2lite.solver import WarmupParamScheduler

# Images of the training set that an epoch of the published numbers counts.
COCO_IMAGES, LVIS_IMAGES = 118_000, 100_000


def steps(milestones, warmup_length, warmup_factor=0.001, **options):
    """Two drops, at all of `milestones` but the last where that is the end of the run."""
    return L(WarmupParamScheduler)(
        scheduler=L(MultiStepParamScheduler)(
            values=[1.0, 0.1, 0.01], milestones=milestones, **options
        ),
        warmup_length=warmup_length,
        warmup_factor=warmup_factor,
    )


def times(count):
    """The schedule of `count` times 90,000 iterations of 16 images."""
    end = 90_000 * count
    # Short runs drop at two and eight ninths; in longer ones the last two stages keep their length.
    drops = [60_000, 80_000] if count == 1 else [end - 60_000, end - 20_000]
    schedule = steps([*drops, end], 1000 / end)
    schedule.warmup_method = "linear"
    return schedule


def epochs(count, *, warmup, images=COCO_IMAGES, warmup_factor=0.001):
    """A run in batches of 64 images, with drops at 8/9 and 26/27 of it.

    Published lengths are those of 100 epochs, scaled and rounded down; so is the warm-up's, which
    is given as iterations of the run of `warmup` epochs.
    """
    whole = images * 100 // 64
    drops = [round(whole * 8 / 9), round(whole * 26 / 27)]
    iterations, of_epochs = warmup
    end = int(whole * count / 100)
    schedule = steps(
        [int(drop * count / 100) for drop in drops],
        iterations / int(whole * of_epochs / 100),
        warmup_factor,
        num_updates=end,
    )
    return end, schedule


def three_times_in_batches_of_64():
    """The three times schedule with four times larger batches."""
    return 67_500, steps([52_500, 62_500, 67_500], 250 / 67_500)


lr_multiplier_1x = times(1)
lr_multiplier_2x = times(2)
lr_multiplier_3x = times(3)
lr_multiplier_6x = times(6)
lr_multiplier_9x = times(9)
