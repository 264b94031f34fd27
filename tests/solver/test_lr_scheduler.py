"""Schedules against their formulas, iteration by iteration."""

import math

import pytest
import torch
from fvcore.common.param_scheduler import ConstantParamScheduler, CosineParamScheduler

from d2lite.config import get_cfg
from d2lite.solver import (
    LRMultiplier,
    WarmupCosineLR,
    WarmupMultiStepLR,
    WarmupParamScheduler,
    WarmupPolyLR,
    build_lr_scheduler,
)
from d2lite.solver.lr_scheduler import _get_warmup_factor_at_iter
from d2lite.utils.errors import ConfigError


def make_optimizer(*lrs):
    return torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs], lr=1.0
    )


def rates(scheduler, num):
    """Learning rate of the first group in each of `num` iterations."""
    found = []
    for _ in range(num):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def solver_cfg(**values):
    cfg = get_cfg()
    given = {"BASE_LR": 0.02, "MAX_ITER": 40, "STEPS": (20, 30), "WARMUP_ITERS": 10, **values}
    for key, value in given.items():
        cfg.merge_from_list([f"SOLVER.{key.replace('__', '.')}", value])
    return cfg


def build_rates(num=40, **values):
    return rates(build_lr_scheduler(solver_cfg(**values), make_optimizer(0.02)), num)


def test_multi_step_warms_up_linearly_and_falls_at_each_step():
    expected = [
        0.02 * (0.001 + 0.999 * min(i, 10) / 10) * 0.1 ** ((i >= 20) + (i >= 30)) for i in range(40)
    ]
    assert build_rates() == pytest.approx(expected, rel=1e-9)


def test_constant_warm_up_stays_at_its_first_value():
    found = build_rates(WARMUP_METHOD="constant", WARMUP_FACTOR=0.1)
    assert found[:10] == pytest.approx([0.002] * 10)
    assert found[10] == pytest.approx(0.02)


def test_cosine_meets_its_warm_up_and_ends_at_the_end_rate():
    found = build_rates(LR_SCHEDULER_NAME="WarmupCosineLR", BASE_LR_END=0.002, WARMUP_ITERS=4)
    cosine = [0.002 + 0.018 * (1 + math.cos(math.pi * i / 40)) / 2 for i in range(40)]
    assert found[4:] == pytest.approx(cosine[4:])
    climb = [0.02 * 0.001 * (1 - i / 4) + cosine[4] * i / 4 for i in range(4)]
    assert found[:4] == pytest.approx(climb)


def test_flat_cosine_keeps_its_rate_before_it_falls():
    found = build_rates(LR_SCHEDULER_NAME="WarmupFlatCosineLR", FLAT_PART=0.5, BASE_LR_END=0.002)
    assert found[10:20] == pytest.approx([0.02] * 10)
    expected = [0.002 + 0.009 * (1 + math.cos(math.pi * i / 20)) for i in range(20)]
    assert found[20:] == pytest.approx(expected, rel=1e-6)


def test_one_cycle_rises_and_falls_along_half_cosines_without_warm_up():
    found = build_rates(
        41, LR_SCHEDULER_NAME="OneCycleLR", ONE_CYCLE__RISE_PART=0.25, BASE_LR_END=0.002
    )
    rise = [0.02 * (0.04 + 0.96 * (1 - math.cos(math.pi * i / 10)) / 2) for i in range(10)]
    assert found[:10] == pytest.approx(rise)
    fall = [0.002 + 0.018 * (1 + math.cos(math.pi * i / 30)) / 2 for i in range(31)]
    assert found[10:] == pytest.approx(fall, rel=1e-5)


def test_one_cycle_is_close_to_torchs_own():
    """Its steps are counted one apart, and the numbers have other names."""
    ours = build_rates(400, LR_SCHEDULER_NAME="OneCycleLR", MAX_ITER=400, BASE_LR_END=8e-8)
    optimizer = make_optimizer(0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, 400, cycle_momentum=False)
    theirs = []
    for _ in range(400):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert ours == pytest.approx(theirs, abs=0.02 * 0.015)


def test_fixed_gamma_steps_are_of_equal_length():
    found = build_rates(
        LR_SCHEDULER_NAME="WarmupStepWithFixedGammaLR", NUM_DECAYS=3, GAMMA=0.5, WARMUP_ITERS=0
    )
    assert found == pytest.approx([0.02 * 0.5 ** (i // 10) for i in range(40)])


def test_rescaling_runs_the_whole_schedule_after_the_warm_up():
    found = build_rates(LR_SCHEDULER_NAME="WarmupCosineLR", RESCALE_INTERVAL=True)
    expected = [0.01 * (1 + math.cos(math.pi * (i - 10) / 30)) for i in range(10, 40)]
    assert found[10:] == pytest.approx(expected)


@pytest.mark.parametrize(
    "name", ["WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR", "OneCycleLR"]
)
@pytest.mark.parametrize("warmup", [0, 3, 40, 1000])
@pytest.mark.parametrize("method", ["linear", "constant"])
def test_every_schedule_survives_the_step_after_the_last_iteration(name, warmup, method):
    """The trainer steps after each iteration, so also after the last one."""
    found = build_rates(45, LR_SCHEDULER_NAME=name, WARMUP_ITERS=warmup, WARMUP_METHOD=method)
    assert found[41:] == [found[40]] * 4
    assert all(0 < rate <= 0.02 * (1 + 1e-9) for rate in found[:40])


def test_cosine_reaches_its_end_rate_with_the_step_after_the_last_iteration():
    found = build_rates(42, LR_SCHEDULER_NAME="WarmupCosineLR", BASE_LR_END=0.002)
    assert found[39] > 0.002
    assert found[40:] == pytest.approx([0.002] * 2, rel=1e-12)


def test_steps_beyond_the_end_are_named_and_left_out(caplog):
    found = build_rates(STEPS=(20, 40, 60))
    assert found[39] == pytest.approx(0.002)
    assert "MAX_ITER (40)" in caplog.text
    assert "(20,)" in caplog.text


def test_a_warm_up_longer_than_the_training_is_named(caplog):
    build_rates(WARMUP_ITERS=1000)
    assert "SOLVER.WARMUP_ITERS (1000) exceeds SOLVER.MAX_ITER (40)" in caplog.text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"LR_SCHEDULER_NAME": "Cosine"}, r"'Cosine'.*WarmupCosineLR, WarmupFlatCosineLR"),
        ({"WARMUP_METHOD": "burnin"}, r"'burnin'.*constant, linear"),
        ({"STEPS": (30, 20)}, r"\(30, 20\).*ascend"),
        ({"STEPS": (0, 20)}, r"\(0, 20\).*from 1 on"),
        ({"STEPS": (0.5, 0.9)}, r"\(0.5, 0.9\).*expected iterations"),
        ({"STEPS": ("x", 20)}, r"STEPS is \(.x., 20\); expected iterations"),
        ({"MAX_ITER": 0}, r"SOLVER\.MAX_ITER is 0"),
        ({"LR_SCHEDULER_NAME": "WarmupCosineLR", "BASE_LR_END": 1.0}, r"BASE_LR_END is 1\.0"),
        ({"LR_SCHEDULER_NAME": "WarmupStepWithFixedGammaLR", "NUM_DECAYS": 0}, r"NUM_DECAYS is 0"),
        ({"LR_SCHEDULER_NAME": "WarmupFlatCosineLR", "FLAT_PART": 1.0}, r"FLAT_PART is 1\.0"),
        (
            {"LR_SCHEDULER_NAME": "OneCycleLR", "ONE_CYCLE__RISE_PART": 1.0},
            r"RISE_PART is 1\.0 and START_FACTOR 0\.04",
        ),
    ],
)
def test_numbers_that_do_not_fit_are_named(values, text):
    with pytest.raises(ConfigError, match=text):
        build_rates(**values)


def test_every_group_keeps_its_own_initial_rate():
    optimizer = make_optimizer(1.0, 0.5)
    scheduler = LRMultiplier(optimizer, CosineParamScheduler(1.0, 0.0), 4)
    rates(scheduler, 2)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.25])


def test_a_saved_schedule_goes_on_where_it_stopped():
    def make():
        return build_lr_scheduler(solver_cfg(), make_optimizer(0.02))

    whole, stopped, resumed = make(), make(), make()
    expected = rates(whole, 30)
    rates(stopped, 12)
    state = stopped.state_dict()
    assert state == {"base_lrs": [0.02], "last_epoch": 12}  # plain values: weights_only loads it
    resumed.load_state_dict(state)
    resumed.optimizer.load_state_dict(stopped.optimizer.state_dict())
    assert rates(resumed, 18) == expected[12:]


def test_a_multiplier_that_is_no_schedule_is_refused():
    with pytest.raises(ConfigError, match=r"type function.*ParamScheduler"):
        LRMultiplier(make_optimizer(1.0), lambda where: 1.0, 10)
    with pytest.raises(ConfigError, match="MAX_ITER is 0"):
        LRMultiplier(make_optimizer(1.0), ConstantParamScheduler(1.0), 0)


def test_a_warm_up_longer_than_everything_is_refused():
    with pytest.raises(ConfigError, match=r"takes 1\.5 of the training"):
        WarmupParamScheduler(ConstantParamScheduler(1.0), 0.1, 1.5)


def test_the_old_multi_step_class_follows_its_formula():
    scheduler = WarmupMultiStepLR(make_optimizer(1.0), [5, 8], 0.1, 0.25, warmup_iters=4)
    climb = [0.25 + 0.75 * i / 4 for i in range(4)]
    assert rates(scheduler, 10) == pytest.approx([*climb, 1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_the_old_cosine_class_follows_its_formula():
    scheduler = WarmupCosineLR(
        make_optimizer(1.0), 10, warmup_factor=0.5, warmup_iters=2, warmup_method="constant"
    )
    cosine = [0.5 * (1 + math.cos(math.pi * i / 10)) for i in range(10)]
    assert rates(scheduler, 10) == pytest.approx([0.5 * c for c in cosine[:2]] + cosine[2:])


def test_factor_of_a_warm_up_follows_its_formula():
    """Schedules that people wrote for detectron2 call this function."""
    factors = [_get_warmup_factor_at_iter("linear", i, 4, 0.2) for i in range(6)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert [_get_warmup_factor_at_iter("constant", i, 2, 0.5) for i in range(3)] == [0.5, 0.5, 1]


def test_the_old_classes_refuse_what_they_do_not_know():
    with pytest.raises(ConfigError, match="'burnin'"):
        WarmupCosineLR(make_optimizer(1.0), 10, warmup_method="burnin")
    with pytest.raises(ConfigError, match=r"\[8, 5\] must ascend"):
        WarmupMultiStepLR(make_optimizer(1.0), [8, 5])


@pytest.mark.parametrize("ending", [0.0, 0.2])
def test_poly_schedule_follows_its_formula(ending):
    """(1 - i / max) ** power times the warm-up's factor, and no less than the ending once warm."""
    scheduler = WarmupPolyLR(make_optimizer(0.02), 20, 0.1, 5, power=0.9, constant_ending=ending)
    expected = [
        0.02
        * (0.1 + 0.9 * min(i / 5, 1))
        * max((1 - min(i, 20) / 20) ** 0.9, ending if i >= 5 else 0)
        for i in range(24)
    ]
    assert rates(scheduler, 24) == pytest.approx(expected)


def test_poly_schedule_is_built_from_the_config(caplog):
    """Its power and ending are keys that projects add; without them the published values count."""
    cfg = solver_cfg(LR_SCHEDULER_NAME="WarmupPolyLR", WARMUP_FACTOR=1.0)
    scheduler = build_lr_scheduler(cfg, make_optimizer(0.02))
    assert rates(scheduler, 40)[20] == pytest.approx(0.02 * 0.5**0.9)
    cfg.SOLVER.POLY_LR_POWER = 2.0
    assert rates(build_lr_scheduler(cfg, make_optimizer(0.02)), 40)[20] == pytest.approx(0.005)
    assert "old form" not in caplog.text


def test_poly_schedule_goes_on_by_the_config_of_the_resumed_run():
    """A longer MAX_ITER stretches it; only the iteration comes from the checkpoint."""
    first = WarmupPolyLR(make_optimizer(1.0), 10, warmup_iters=0)
    rates(first, 5)
    second = WarmupPolyLR(make_optimizer(1.0), 20, warmup_iters=0)
    second.load_state_dict(first.state_dict())
    rates(second, 1)
    assert second.get_last_lr() == pytest.approx([(1 - 6 / 20) ** 0.9])
