"""Which parameter gets which rate and decay, and what clipping does to its gradient."""

import pytest
import torch
from torch import nn

from d2lite.config import get_cfg
from d2lite.layers import LayerNorm
from d2lite.solver import build_optimizer, get_default_optimizer_params
from d2lite.solver.build import (
    _create_gradient_clipper,
    _expand_param_groups,
    _generate_optimizer_class_with_gradient_clipping,
    maybe_add_gradient_clipping,
    reduce_param_groups,
)
from d2lite.utils.errors import ConfigError


def make_model():
    return nn.ModuleDict(
        {
            "conv": nn.Conv2d(2, 2, 1),
            "bn": nn.BatchNorm2d(2),
            "gn": nn.GroupNorm(1, 2),
            "ln": nn.LayerNorm(2),
            "maps": LayerNorm(2),
        }
    )


def values_by_name(model, groups):
    names = {param: name for name, param in model.named_parameters()}
    return {
        names[param]: {key: value for key, value in group.items() if key != "params"}
        for group in groups
        for param in group["params"]
    }


def cfg_with(**values):
    cfg = get_cfg()
    for key, value in values.items():
        cfg.merge_from_list([f"SOLVER.{key.replace('__', '.')}", value])
    return cfg


def test_norm_layers_have_a_decay_of_their_own():
    model = make_model()
    found = values_by_name(
        model,
        get_default_optimizer_params(model, 0.1, weight_decay=0.01, weight_decay_norm=0.5),
    )
    assert len(found) == 10
    for name, values in found.items():
        # Published runs of ViTDet decay the norms over the channels of maps as all else.
        is_norm = not name.startswith(("conv", "maps"))
        assert values == {"lr": 0.1, "weight_decay": 0.5 if is_norm else 0.01}


def test_biases_have_a_rate_and_decay_of_their_own_in_norm_layers_too():
    model = make_model()
    found = values_by_name(
        model,
        get_default_optimizer_params(
            model,
            0.1,
            weight_decay=0.01,
            weight_decay_norm=0.5,
            bias_lr_factor=2.0,
            weight_decay_bias=0.03,
        ),
    )
    assert found["conv.weight"] == {"lr": 0.1, "weight_decay": 0.01}
    assert found["bn.weight"] == {"lr": 0.1, "weight_decay": 0.5}
    assert found["conv.bias"] == found["bn.bias"] == {"lr": 0.2, "weight_decay": 0.03}


def test_nothing_given_leaves_all_to_the_optimizer():
    (group,) = get_default_optimizer_params(make_model())
    assert list(group) == ["params"]
    assert len(group["params"]) == 10


def test_factors_by_name_and_overrides_by_last_name():
    model = make_model()
    found = values_by_name(
        model,
        get_default_optimizer_params(
            model,
            1.0,
            weight_decay=0.1,
            lr_factor_func=lambda name: 0.5 if name.startswith("conv") else 1.0,
            overrides={"bias": {"weight_decay": 0.0}},
        ),
    )
    assert found["conv.weight"] == {"lr": 0.5, "weight_decay": 0.1}
    assert found["conv.bias"] == {"lr": 0.5, "weight_decay": 0.0}
    assert found["ln.bias"] == {"lr": 1.0, "weight_decay": 0.0}


def test_embeddings_have_a_decay_of_their_own():
    model = nn.ModuleDict({"queries": nn.Embedding(2, 3), "linear": nn.Linear(3, 3)})
    groups = get_default_optimizer_params(model, weight_decay=0.1, weight_decay_embed=0.0)
    assert values_by_name(model, groups) == {
        "queries.weight": {"weight_decay": 0.0},
        "linear.weight": {"weight_decay": 0.1},
        "linear.bias": {"weight_decay": 0.1},
    }


def test_given_groups_replace_those_of_the_configuration():
    model = nn.Linear(2, 2)
    groups = [{"params": [model.bias], "lr": 0.5}]
    made = build_optimizer(get_cfg(), model, groups)
    assert [(group["lr"], group["params"]) for group in made.param_groups] == [(0.5, [model.bias])]


def test_a_shared_parameter_appears_once_and_a_frozen_one_never():
    """An optimizer given a tensor twice steps it twice."""
    model = make_model()
    model["head"] = nn.Conv2d(2, 2, 1)
    model["head"].weight = model["conv"].weight
    model["gn"].requires_grad_(False)
    groups = get_default_optimizer_params(model, 0.1)
    params = [param for group in groups for param in group["params"]]
    assert len(params) == len(set(params)) == 9
    torch.optim.SGD(groups, lr=0.1)


@pytest.mark.parametrize("options", [{"bias_lr_factor": 2.0}, {"lr_factor_func": lambda name: 1.0}])
def test_rules_for_rates_need_a_base_rate(options):
    with pytest.raises(ConfigError, match="base_lr is None"):
        get_default_optimizer_params(make_model(), **options)


def test_bias_rules_given_twice_are_refused():
    with pytest.raises(ConfigError, match=r"'bias'.*weight_decay_bias=0\.1"):
        get_default_optimizer_params(
            make_model(), 1.0, weight_decay_bias=0.1, overrides={"bias": {"lr": 1.0}}
        )


def test_groups_of_equal_values_are_joined_in_order():
    a, b, c, d = (nn.Parameter(torch.zeros(1)) for _ in range(4))
    groups = [
        {"params": [a], "lr": 1.0, "betas": [0.9, 0.99]},
        {"params": [b], "lr": 2.0},
        {"params": c, "betas": [0.9, 0.99], "lr": 1.0},
        {"params": [d], "lr": 2.0},
    ]
    joined = reduce_param_groups(groups)
    assert joined == [
        {"params": [a, c], "lr": 1.0, "betas": [0.9, 0.99]},
        {"params": [b, d], "lr": 2.0},
    ]
    assert groups[0]["params"] == [a]


def test_sgd_by_default_with_momentum_and_nesterov():
    optimizer = build_optimizer(
        cfg_with(MOMENTUM=0.8, NESTEROV=True, BASE_LR=0.5, WEIGHT_DECAY=0.25), make_model()
    )
    assert type(optimizer) is torch.optim.SGD
    for group, decay in zip(optimizer.param_groups, [0.25, 0.0], strict=True):
        assert (group["lr"], group["momentum"], group["nesterov"]) == (0.5, 0.8, True)
        assert group["weight_decay"] == decay


def test_adamw_by_name_with_its_betas():
    optimizer = build_optimizer(
        cfg_with(OPTIMIZER="AdamW", BETAS=(0.8, 0.9), WEIGHT_DECAY=0.05), make_model()
    )
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)
    assert optimizer.param_groups[0]["weight_decay"] == 0.05


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ADAM", torch.optim.Adam), ("ADAMW", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_optimizer_names_are_read_in_any_case(name, kind):
    """Published configurations of Panoptic-DeepLab and Mask2Former write them in capitals."""
    assert type(build_optimizer(cfg_with(OPTIMIZER=name), make_model())) is kind


def test_an_unknown_optimizer_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'Lion'.*AdamW, SGD"):
        build_optimizer(cfg_with(OPTIMIZER="Lion"), make_model())


def test_a_model_with_nothing_to_train_is_refused():
    with pytest.raises(ConfigError, match="FREEZE_AT"):
        build_optimizer(cfg_with(), make_model().requires_grad_(False))


# Two parameters with gradients of norm 5 and 0.5, and one without a gradient.
GRADS = [[3.0, -4.0], [0.3, 0.4]]


def gradients_in_step(closure=False, **clip):
    """What the optimizer sees, read from a step of SGD with rate 1 from zero."""
    params = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    options = {f"CLIP_GRADIENTS__{key}": value for key, value in clip.items()}
    kind = maybe_add_gradient_clipping(
        cfg_with(CLIP_GRADIENTS__ENABLED=True, **options), torch.optim.SGD
    )
    optimizer = kind([{"params": params[:1]}, {"params": params[1:]}], lr=1.0)

    def set_gradients():
        for param, grad in zip(params, GRADS, strict=False):
            param.grad = torch.tensor(grad)
        return torch.tensor(0.5)

    if closure:
        assert optimizer.step(set_gradients) == 0.5
    else:
        set_gradients()
        optimizer.step()
    return [(-param.detach()).tolist() for param in params]


@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        ({"CLIP_TYPE": "value", "CLIP_VALUE": 0.35}, [[0.35, -0.35], [0.3, 0.35]]),
        ({"CLIP_TYPE": "norm", "CLIP_VALUE": 1.0}, [[0.6, -0.8], [0.3, 0.4]]),
        (
            {"CLIP_TYPE": "norm", "CLIP_VALUE": 1.0, "NORM_TYPE": float("inf")},
            [[0.75, -1.0], [0.3, 0.4]],
        ),
        (
            {"CLIP_TYPE": "full_model", "CLIP_VALUE": 25.25**0.5 / 10},
            [[0.3, -0.4], [0.03, 0.04]],
        ),
        ({"CLIP_TYPE": "full_model", "CLIP_VALUE": 100.0}, GRADS),
    ],
)
def test_gradients_are_clipped_before_the_step(clip, expected, closure):
    found = gradients_in_step(closure=closure, **clip)
    torch.testing.assert_close(torch.tensor(found), torch.tensor([*expected, [0.0, 0.0]]))


def test_clipping_agrees_with_torch_over_a_model():
    torch.manual_seed(0)
    params = [nn.Parameter(torch.randn(3, 4)) for _ in range(5)]
    kind = maybe_add_gradient_clipping(
        cfg_with(
            CLIP_GRADIENTS__ENABLED=True,
            CLIP_GRADIENTS__CLIP_TYPE="full_model",
            CLIP_GRADIENTS__CLIP_VALUE=0.5,
        ),
        torch.optim.SGD,
    )
    grads = [torch.randn(3, 4) for _ in params]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad.clone()
    kind(params, lr=0.0).step()
    clipped = [param.grad for param in params]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad.clone()
    torch.nn.utils.clip_grad_norm_(params, 0.5)
    torch.testing.assert_close(clipped, [param.grad for param in params])


def test_a_step_without_any_gradient_does_nothing():
    optimizer = maybe_add_gradient_clipping(
        cfg_with(CLIP_GRADIENTS__ENABLED=True), torch.optim.SGD
    )([nn.Parameter(torch.ones(1))], lr=1.0)
    assert isinstance(optimizer, torch.optim.SGD)
    optimizer.step()


def test_an_optimizer_that_exists_gets_clipping_too():
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    cfg = cfg_with(CLIP_GRADIENTS__ENABLED=True, CLIP_GRADIENTS__CLIP_VALUE=0.5)
    same = maybe_add_gradient_clipping(cfg, optimizer)
    weight.grad = torch.tensor([3.0, -0.25])
    same.step()
    assert same is optimizer
    assert isinstance(same, torch.optim.SGD)
    assert weight.tolist() == [-0.5, 0.25]


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_a_clipped_optimizer_is_fused_and_clips_what_a_scaler_has_scaled_back(name):
    """Of a fused optimizer a gradient scaler expects that it unscales, after the clipping."""
    keys = {"ENABLED": True, "CLIP_TYPE": "full_model", "CLIP_VALUE": 0.5}
    options = {f"CLIP_GRADIENTS__{key}": value for key, value in keys.items()}
    plain, scaled = nn.Linear(4, 3), nn.Linear(4, 3)
    scaled.load_state_dict(plain.state_dict())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizers = [
        build_optimizer(cfg_with(OPTIMIZER=name, BASE_LR=0.1, **options), model)
        for model in (plain, scaled)
    ]
    assert all(group["fused"] for group in optimizers[0].param_groups)
    inputs = torch.randn(8, 4)
    for factor in (1.0, float("inf"), 1.0):  # the scaler leaves out the second update
        if factor == 1.0:
            optimizers[0].zero_grad()
            plain(inputs).pow(2).sum().backward()
            optimizers[0].step()
        optimizers[1].zero_grad()
        scaler.scale(scaled(inputs).pow(2).sum() * factor).backward()
        scaler.step(optimizers[1])
        scaler.update()
    torch.testing.assert_close(scaled.state_dict(), plain.state_dict())
    assert scaler.get_scale() == 512.0


@pytest.mark.parametrize("name", ["ADAMW", "adamw", "AdamW"])
def test_the_optimizer_is_named_in_any_case(name):
    model = torch.nn.Linear(1, 1)
    assert isinstance(build_optimizer(cfg_with(OPTIMIZER=name), model), torch.optim.AdamW)


def test_clipping_is_off_by_default():
    assert maybe_add_gradient_clipping(cfg_with(), torch.optim.SGD) is torch.optim.SGD


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("CLIP_TYPE", "global", r"'global'.*value, norm, full_model"),
        ("CLIP_VALUE", 0.0, r"CLIP_VALUE is 0\.0.*ENABLED False"),
    ],
)
def test_clipping_that_cannot_be_is_named(key, value, text):
    with pytest.raises(ConfigError, match=text):
        maybe_add_gradient_clipping(
            cfg_with(CLIP_GRADIENTS__ENABLED=True, **{f"CLIP_GRADIENTS__{key}": value}),
            torch.optim.SGD,
        )


def test_a_parameter_in_two_groups_is_trained_once_by_the_later_values():
    first, second = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    groups = [{"params": [first, second], "lr": 0.1}, {"params": [first], "weight_decay": 0.0}]
    assert _expand_param_groups(groups) == [
        {"params": [first], "lr": 0.1, "weight_decay": 0.0},
        {"params": [second], "lr": 0.1},
    ]
    assert len(reduce_param_groups(groups)) == 2


def test_a_clipper_takes_one_parameter_or_many():
    clip_ = _create_gradient_clipper(
        cfg_with(CLIP_GRADIENTS__CLIP_TYPE="value", CLIP_GRADIENTS__CLIP_VALUE=0.5).SOLVER[
            "CLIP_GRADIENTS"
        ]
    )
    params = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    params[0].grad, params[1].grad = torch.tensor([2.0]), torch.tensor([-2.0])
    clip_(params[0])
    assert [params[0].grad.item(), params[1].grad.item()] == [0.5, -2.0]
    clip_(iter(params))
    assert [params[0].grad.item(), params[1].grad.item()] == [0.5, -0.5]


def test_an_optimizer_class_can_be_given_clippers_of_ones_own():
    seen = []
    kind = _generate_optimizer_class_with_gradient_clipping(
        torch.optim.SGD,
        per_param_clipper=lambda parameter: seen.append(parameter),
        global_clipper=lambda parameters: seen.append(len(list(parameters))),
    )
    params = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    params[1].grad = torch.ones(1)
    optimizer = kind(params, lr=1.0)
    optimizer.step()
    assert isinstance(optimizer, torch.optim.SGD)
    assert seen[0] == 2
    assert seen[1] is params[1]
    assert len(seen) == 2
    assert params[1].item() == -1
