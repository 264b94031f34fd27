"""The page of components: what a config chooses by name, and the parts that models are made of.

`python .ci/docs_components.py` writes docs/components.md.
"""

import ast
import functools
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "components.md"
# Registry -> where it is, and the key that names one of its entries.
REGISTRIES = {
    "META_ARCH_REGISTRY": ("d2lite.modeling", "MODEL.META_ARCHITECTURE"),
    "BACKBONE_REGISTRY": ("d2lite.modeling", "MODEL.BACKBONE.NAME"),
    "ANCHOR_GENERATOR_REGISTRY": ("d2lite.modeling", "MODEL.ANCHOR_GENERATOR.NAME"),
    "PROPOSAL_GENERATOR_REGISTRY": ("d2lite.modeling", "MODEL.PROPOSAL_GENERATOR.NAME"),
    "RPN_HEAD_REGISTRY": ("d2lite.modeling", "MODEL.RPN.HEAD_NAME"),
    "ROI_HEADS_REGISTRY": ("d2lite.modeling", "MODEL.ROI_HEADS.NAME"),
    "ROI_BOX_HEAD_REGISTRY": ("d2lite.modeling", "MODEL.ROI_BOX_HEAD.NAME"),
    "ROI_MASK_HEAD_REGISTRY": ("d2lite.modeling", "MODEL.ROI_MASK_HEAD.NAME"),
    "ROI_KEYPOINT_HEAD_REGISTRY": ("d2lite.modeling", "MODEL.ROI_KEYPOINT_HEAD.NAME"),
    "SEM_SEG_HEADS_REGISTRY": ("d2lite.modeling", "MODEL.SEM_SEG_HEAD.NAME"),
}
# Packages whose public parts are listed, if their docstring names a paper.
PARTS = (
    "d2lite.layers",
    "d2lite.modeling.assigning",
    "d2lite.modeling.backbone.fpn_additions",
    "d2lite.modeling.backbone.high_resolution_pyramid",
    "d2lite.modeling.backbone.stacked_pyramid",
    "d2lite.modeling.box_buckets",
    "d2lite.modeling.box_regression",
    "d2lite.modeling.box_sides",
    "d2lite.modeling.csp",
    "d2lite.modeling.roi_heads.class_losses",
    "d2lite.modeling.roi_heads.prime_samples",
    "d2lite.modeling.roi_heads.stage_masks",
    "d2lite.modeling.sampling",
    "d2lite.modeling.transformer",
)
# Part -> the key that chooses it or its strength, where there is one.
KEYS = {
    "smooth_l1_loss": "MODEL.RPN.BBOX_REG_LOSS_TYPE",
    "giou_loss": "MODEL.RPN.BBOX_REG_LOSS_TYPE",
    "diou_loss": "MODEL.RPN.BBOX_REG_LOSS_TYPE",
    "ciou_loss": "MODEL.RPN.BBOX_REG_LOSS_TYPE",
    "eiou_loss": "MODEL.RPN.BBOX_REG_LOSS_TYPE",
    "bounded_iou_loss": "MODEL.RPN.BBOX_REG_LOSS_TYPE",
    "rotated_iou_loss": "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE",
    "balanced_l1_loss": "MODEL.RPN.BBOX_REG_LOSS_TYPE",
    "iou_loss": "MODEL.RPN.BBOX_REG_LOSS_TYPE",
    "HarmonizedClassLoss": "MODEL.RETINANET.CLASS_LOSS",
    "HarmonizedBoxLoss": "MODEL.RETINANET.BBOX_REG_LOSS_TYPE",
    "SeesawLoss": "MODEL.ROI_BOX_HEAD.CLASS_LOSS",
    "EqualizedLoss": "MODEL.ROI_BOX_HEAD.CLASS_LOSS",
    "ClassBalancedLoss": "MODEL.ROI_BOX_HEAD.CLASS_LOSS",
    "CosineLinear": "MODEL.ROI_BOX_HEAD.COSINE_SCALE",
    "CosineConv2d": "MODEL.ROI_MASK_HEAD.COSINE_SCALE",
    "StageMaskHeads": "MODEL.ROI_BOX_CASCADE_HEAD.MASK_HEADS",
    "WeightStandardNorm": "MODEL.RESNETS.NORM",
    "NonLocal": "MODEL.RESNETS.PLUGIN",
    "GlobalContext": "MODEL.RESNETS.PLUGIN",
    "EfficientChannelAttention": "MODEL.RESNETS.PLUGIN",
    "ChannelAndSpatialAttention": "MODEL.RESNETS.PLUGIN",
    "DropBlock": "MODEL.RESNETS.PLUGIN",
    "PoolPyramid": "MODEL.RESNETS.PLUGIN",
    "ReceptiveFieldBlock": "MODEL.RESNETS.PLUGIN",
    "NASFPN": "MODEL.FPN.FUSION",
    "BiFPN": "MODEL.FPN.FUSION",
    "HighResolutionPyramid": "MODEL.FPN.FUSION",
    "BottomUpPath": "MODEL.FPN.BOTTOM_UP_PATH",
    "BalancedMaps": "MODEL.FPN.BALANCE",
    "subsample_labels": "MODEL.ROI_HEADS.SAMPLER",
    "overlap_bins": "MODEL.ROI_HEADS.SAMPLER",
    "overlap_groups": "MODEL.ROI_HEADS.SAMPLER",
    "hierarchical_ranks": "MODEL.ROI_HEADS.SAMPLER",
    "score_ranks": "MODEL.ROI_HEADS.SAMPLER",
    "iou_ranks": "MODEL.ROI_BOX_HEAD.RANK_EXPONENTS",
    "rank_weights": "MODEL.ROI_BOX_HEAD.RANK_EXPONENTS",
    "ranked_class_loss": "MODEL.ROI_BOX_HEAD.RANK_EXPONENTS",
    "sigmoid_focal_loss": "MODEL.RETINANET.FOCAL_LOSS_GAMMA",
    "heatmap_focal_loss": "MODEL.FCPOSE.BASIS_MODULE.LOSS_WEIGHT",
    "varifocal_loss": "MODEL.DENSE.VARIFOCAL_GAMMA",
    "distribution_focal_loss": "MODEL.DENSE.DISTRIBUTION_WEIGHT",
    "BucketTransform": "MODEL.DENSE.NUM_BUCKETS",
    "bucket_confidence": "MODEL.DENSE.NUM_BUCKETS",
    "Box2BoxTransformTBLR": "MODEL.DENSE.NORMALIZER",
    "assign_by_statistics": "MODEL.DENSE.TOPK",
    "assign_by_soft_labels": "MODEL.RTMDET.ASSIGNER",
    "assign_by_alignment": "MODEL.RTMDET.ASSIGNER",
    "fast_nms": "TEST.SOFT_NMS.METHOD",
    "soft_nms": "TEST.SOFT_NMS.METHOD",
    "DeformConv": "MODEL.RESNETS.DEFORM_ON_PER_STAGE",
    "ModulatedDeformConv": "MODEL.RESNETS.DEFORM_MODULATED",
}
# Parts that a command uses, and no registered component.
COMMANDS = {"weighted_box_fusion": "`--ensemble` of `d2lite predict` and `d2lite eval`"}

_PAPER = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


@functools.cache
def registered() -> dict[str, dict[str, Any]]:
    """Key -> name -> what d2lite and its projects register under it."""
    projects = importlib.import_module("d2lite.projects")
    for name in projects.project_names():
        importlib.import_module(f"d2lite.projects.{name}")
    found: dict[str, dict[str, Any]] = {}
    for name, (module, key) in REGISTRIES.items():
        registry = getattr(importlib.import_module(module), name)
        found[key] = {
            entry: value for entry, value in registry if _is_ours(inspect.getmodule(value))
        }
    return found


@functools.cache
def parts() -> dict[str, Any]:
    """Name -> a public function or class whose docstring names its paper."""
    found = {}
    for package in PARTS:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if _papers(value) and "Source:" in (inspect.getdoc(value) or ""):
                found[name] = value
    return found


def components() -> str:
    """The page."""
    roots = registered()
    rows = [
        f"| `{name}` | {_papers(value)} | `{key}` |"
        for key, entries in roots.items()
        for name, value in sorted(entries.items())
    ]
    users = used_by()
    own = [
        f"| `{name}` | {_papers(value)} | {f'`{KEYS[name]}`' if name in KEYS else ''} | "
        f"{COMMANDS.get(name) or ', '.join(users[name])} |"
        for name, value in sorted(parts().items())
    ]
    return (
        "# Components\n\nMade from the registries and the docstrings. What has no paper of its own "
        "has no link.\n\n## Chosen by name\n\n| component | paper | key |\n|---|---|---|\n"
        + "\n".join(rows)
        + "\n\n## Parts\n\nFunctions and layers that are used by those above.\n\n"
        "| component | paper | key | used by |\n|---|---|---|---|\n" + "\n".join(own) + "\n"
    )


@functools.cache
def used_by() -> dict[str, list[str]]:
    """Part -> the registered components whose functions and classes name it, also by others."""
    places = {_place(value): name for name, value in parts().items()}
    found: dict[str, set[str]] = {name: set() for name in places.values()}
    for entries in registered().values():
        for entry, value in entries.items():
            for place in _reached(_place(value)):
                if place in places:
                    found[places[place]].add(entry)
    return {name: sorted(users) for name, users in found.items()}


# Module and name of a function, class or variable at the top of it.
Place = tuple[str, str]


def _place(value: Any) -> Place:
    return value.__module__, value.__name__


@functools.cache
def _module(name: str) -> tuple[dict[str, ast.AST], dict[str, Place]]:
    """What a module defines at its top, and where what it imports from d2lite is defined."""
    module = importlib.import_module(name)
    defined: dict[str, ast.AST] = {}
    imported: dict[str, Place] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined.update({one.id: node for one in targets if isinstance(one, ast.Name)})
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            if not source.startswith((".", "d2lite")):
                continue
            package = importlib.import_module(source, module.__package__)
            for alias in node.names:
                value = getattr(package, alias.name, None)
                where = getattr(value, "__module__", None)
                if isinstance(where, str) and where.startswith("d2lite."):
                    own = alias.asname or alias.name
                    imported[own] = (where, getattr(value, "__name__", alias.name))
    return defined, imported


def _reached(start: Place) -> set[Place]:
    """A place and those that its code names, and so on."""
    found: set[Place] = set()
    waiting = [start]
    while waiting:
        module, name = place = waiting.pop()
        if place in found:
            continue
        found.add(place)
        defined, imported = _module(module)
        for node in ast.walk(defined[name]) if name in defined else ():
            if isinstance(node, ast.Name):
                waiting += [(module, node.id)] if node.id in defined else []
                waiting += [imported[node.id]] if node.id in imported else []
    return found


def _is_ours(module: ModuleType | None) -> bool:
    return module is not None and module.__name__.startswith("d2lite.")


def _papers(value: Any) -> str:
    """Links to the papers of a docstring; of the module where the object names none."""
    for text in (inspect.getdoc(value), getattr(inspect.getmodule(value), "__doc__", None)):
        numbers = dict.fromkeys(_PAPER.findall(text or ""))
        if numbers:
            return ", ".join(f"[{n}](https://arxiv.org/abs/{n})" for n in numbers)
    return ""


if __name__ == "__main__":
    PAGE.write_text(components(), encoding="utf-8")
