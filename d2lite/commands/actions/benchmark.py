"""What `d2lite benchmark` does: make the sides of a task, measure them, show the result."""

import argparse
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import CfgNode, PythonRunConfig, as_run_config
from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.modeling import build_model
from d2lite.modeling.compiling import compile_parts_
from d2lite.utils.env import resolve_device
from d2lite.utils.errors import ConfigError
from d2lite.utils.file_io import make_folder, write_json_file
from d2lite.utils.logger import setup_logger

from ..benchmarking.batches import count_classes_of, fit_frozen_norms, generated_batch
from ..benchmarking.clock import Side, measure
from ..benchmarking.coco_eval import coco_sides
from ..benchmarking.counting import count
from ..benchmarking.detectron2_peer import detectron2_side
from ..benchmarking.exported_sides import EXPORTED, exported_sides
from ..benchmarking.imports import help_side, import_sides
from ..benchmarking.loading import loader_sides, show_steps
from ..benchmarking.memory import peak_mib
from ..benchmarking.our_side import predicting_side, training_side
from ..benchmarking.profiling import profile_step
from ..benchmarking.results import as_plain, markdown
from ..benchmarking.torchvision_peer import torchvision_side
from ..benchmarking.transformers_peer import make_transformers_model, transformers_side
from ..benchmarking.whole_run import run_whole

# Rows of the table of --profile.
_MOST = 10


def benchmark(args: argparse.Namespace) -> None:
    """Measure, print tables, and write the JSON file that was asked for."""
    setup_logger()
    _check_peer(args)
    if args.json:
        make_folder(Path(args.json).parent, "--json")
    if args.profile:
        make_folder(args.profile, "--profile")
    results = _TASKS[args.task](args)
    if args.json:
        write_json_file(args.json, results, indent=1)


def _check_peer(args: argparse.Namespace) -> None:
    compared: dict[str, tuple[str, ...]] = {
        "train": _LIBRARIES,
        "infer": (*_LIBRARIES, *EXPORTED),
        "coco-eval": ("pycocotools",),
    }
    possible = compared.get(args.task, ())
    if not set(args.against) <= set(possible):
        raise ConfigError(
            f"--task {args.task} cannot be measured --against {','.join(args.against)}; possible: "
            f"{', '.join(possible) or 'nothing, it has its own comparison'}."
        )
    if len(args.against) > 1 and not set(args.against) <= set(EXPORTED):
        raise ConfigError(
            f"--against {','.join(args.against)}: only exported files are compared several at "
            f"once: {', '.join(EXPORTED)}."
        )


_LIBRARIES = ("torchvision", "transformers", "detectron2", "eager")


def _config(args: argparse.Namespace) -> CfgNode:
    opts = list(args.opts)
    if args.device:
        is_python = any("=" in word for word in opts) or args.config_file.endswith(".py")
        device = [f"train.device={args.device}"] if is_python else ["MODEL.DEVICE", args.device]
        opts += device
    cfg = as_run_config(setup_cfg(args.config_file, opts, args.imports))
    # The device that there is, for the other side too.
    was_set = not cfg.is_default("MODEL.DEVICE")
    cfg.MODEL.DEVICE = str(resolve_device(cfg.MODEL.DEVICE, was_set=was_set))
    return cfg


def _steps(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Training steps or predictions of one batch."""
    cfg = _config(args)
    if isinstance(cfg, PythonRunConfig) and set(args.against) - {"transformers", "eager"}:
        raise ConfigError(
            f"--against {','.join(args.against)} reads the keys of a YAML config, and this is a "
            "Python one. Give the .yaml file of the same model."
        )
    is_train = args.task == "train"
    theirs: nn.Module | None = None
    if "transformers" in args.against:
        theirs, model = make_transformers_model(cfg)
    else:
        model = build_model(cfg)
    num_classes = count_classes_of(model)
    batch = _batch(cfg, num_classes, args)
    if theirs is None:
        if Path(cfg.MODEL.WEIGHTS).is_file():
            DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
        else:
            fit_frozen_norms(model, lambda: model.eval()(batch))
    make = training_side if is_train else predicting_side
    plain = copy.deepcopy(model) if "eager" in args.against else None
    if cfg.MODEL.COMPILE:
        compile_parts_(model)
    sides = [make(cfg, model, batch)]
    if plain is not None:
        sides.append(replace(make(cfg, plain, batch), name="eager"))
    elif "torchvision" in args.against:
        sides.append(torchvision_side(cfg, batch, num_classes, is_train=is_train))
    elif "detectron2" in args.against:
        sides.append(detectron2_side(cfg, model, batch, is_train=is_train))
    elif theirs is not None:
        sides.append(transformers_side(cfg, theirs, batch, is_train=is_train))
    modules = list(sides)
    if set(args.against) & set(EXPORTED):
        sides += exported_sides(cfg, model, batch, args.against)
    measure(sides, warmup=args.warmup, repeats=args.repeats)
    for side in modules:
        peak = peak_mib(side.step, cfg.MODEL.DEVICE)
        if peak is not None:
            side.facts["peak memory, MiB"] = peak
        if not cfg.MODEL.COMPILE:
            # Generated code calls no operators.
            side.facts |= count(side.step).totals()
    height, width = batch[0]["image"].shape[-2:]
    what = f"{args.task}, {len(batch)} images of {height} x {width} on {cfg.MODEL.DEVICE}"
    print(markdown(what, sides))
    results = as_plain(what, sides, task=args.task)
    if args.profile:
        results["profile"] = _profile(args, cfg, model, sides[0].step)
    return [results]


def _batch(cfg: CfgNode, num_classes: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    if not args.own_data:
        return generated_batch(
            cfg,
            num_classes,
            size=(args.size[0], args.size[1]),
            batch=args.batch,
            objects=args.objects,
        )
    _require_train_sets(cfg)
    loader = DefaultTrainer.build_train_loader(cfg)
    samples = [sample for batch in islice(loader, args.batch) for sample in batch]
    return samples[: args.batch]


def _profile(
    args: argparse.Namespace, cfg: CfgNode, model: nn.Module, step: Callable[[], object]
) -> list[dict[str, Any]]:
    """Record a step, print the most expensive operators, and give all costs as plain values."""
    trace = Path(args.profile) / f"{args.task}.trace.json"
    is_cuda = cfg.MODEL.DEVICE.startswith("cuda")
    costs = profile_step(step, model, trace, is_cuda=is_cuda)
    total = sum(cost.seconds for cost in costs)
    print("\n| module | operator | ms | share | calls |\n| --- | --- | ---: | ---: | ---: |")
    for module, operator, seconds, calls in costs[:_MOST]:
        share = seconds / total if total else 0.0
        print(f"| {module} | {operator} | {1000 * seconds:.1f} | {share:.1%} | {calls} |")
    print(f"\nTrace for chrome://tracing: {trace}")
    return [cost._asdict() for cost in costs]


def _load(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The training loader, for each number of workers."""
    cfg = _config(args)
    _require_train_sets(cfg)
    results, tables = [], []
    for workers in args.workers:
        sides = loader_sides(cfg, workers, args.num_images)
        measure(sides, warmup=0, repeats=args.repeats)
        what = f"seconds an image of the loader with {workers} workers"
        tables.append(markdown(what, sides))
        results.append(as_plain(what, sides, task=args.task, workers=workers))
    # Together: loaders log as they are built.
    print("\n\n".join(tables), *show_steps(cfg, args.num_images), sep="\n")
    return results


def _require_train_sets(cfg: CfgNode) -> None:
    if not cfg.DATASETS.TRAIN:
        raise ConfigError(
            "DATASETS.TRAIN is empty, so there is nothing to load. Name a dataset, for instance "
            "DATASETS.TRAIN \"('shapes_train',)\" at the end of the command."
        )


def _score(args: argparse.Namespace) -> list[dict[str, Any]]:
    sides = coco_sides(
        args.num_images, objects=args.objects, with_pycocotools="pycocotools" in args.against
    )
    return _show(args, f"COCO scores of boxes, {args.num_images} images", sides)


def _import(args: argparse.Namespace) -> list[dict[str, Any]]:
    results = _show(args, "a new process that imports", import_sides())
    print()
    return [*results, *_show(args, "a new process that shows help", [help_side()])]


def _show(args: argparse.Namespace, what: str, sides: Sequence[Side]) -> list[dict[str, Any]]:
    measure(sides, warmup=args.warmup, repeats=args.repeats)
    print(markdown(what, sides))
    return [as_plain(what, sides, task=args.task)]


def _run(args: argparse.Namespace) -> list[dict[str, Any]]:
    cfg = _config(args)
    _require_train_sets(cfg)
    side, more = run_whole(cfg, warmup=args.warmup, repeats=args.repeats)
    what = f"steps of a run on {', '.join(cfg.DATASETS.TRAIN)}"
    print(markdown(what, [side]))
    print(f"\nA step waits {more['data_share']:.1%} of its time for data.")
    return [as_plain(what, [side], task=args.task, **more)]


_TASKS: Mapping[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
    "train": _steps,
    "infer": _steps,
    "data": _load,
    "coco-eval": _score,
    "import": _import,
    "end-to-end": _run,
}
