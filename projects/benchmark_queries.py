"""Time a training step and a prediction beside those of the library transformers, in turns.

    python projects/benchmark_queries.py --kind rt_detr_v2 --size 256 --batch 2 --rounds 5

Both models have the same random weights and see the same images and objects. The time of a round is
that of one step; the medians are shown, and our part of theirs. Needs `pip install transformers`.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import find_config_file, get_cfg
from d2lite.modeling import build_model
from d2lite.projects import add_project_configs
from d2lite.structures import Boxes, Instances

# The recipe that our model starts from.
RECIPES = {
    "rt_detr_v2": "Base-RTDETR.yaml",
    "d_fine": "Base-DFINE.yaml",
    "detr": "Base-DETR.yaml",
    "deformable_detr": "Base-DeformableDETR.yaml",
}


def make_theirs(kind: str) -> torch.nn.Module:
    """An R18 of RT-DETRv2, D-FINE-S, or an R18 of DETR or Deformable DETR, with random weights."""
    import transformers

    transformers.logging.set_verbosity_error()
    if kind == "d_fine":
        return transformers.DFineForObjectDetection(_dfine_config(transformers))
    blocks = {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}
    outputs = ["stage2", "stage3", "stage4"]
    if kind == "rt_detr_v2":
        config = transformers.RTDetrV2Config(
            backbone_config=transformers.RTDetrResNetConfig(**blocks, out_features=outputs),
            encoder_in_channels=[128, 256, 512],
            decoder_layers=3,
            hidden_expansion=0.5,
            num_labels=80,
        )
        return transformers.RTDetrV2ForObjectDetection(config)
    is_detr = kind == "detr"
    backbone = transformers.ResNetConfig(**blocks, out_features=outputs[2:] if is_detr else outputs)
    options = {"backbone_config": backbone, "auxiliary_loss": True, "num_labels": 80}
    if is_detr:
        return transformers.DetrForObjectDetection(transformers.DetrConfig(**options))
    config = transformers.DeformableDetrConfig(
        **options,
        with_box_refine=True,
        two_stage=True,
        encoder_layers=3,
        decoder_layers=3,
    )
    return transformers.DeformableDetrForObjectDetection(config)


def _dfine_config(transformers: Any) -> Any:
    backbone = transformers.HGNetV2Config(
        stem_channels=[3, 16, 16],
        stage_in_channels=[16, 64, 256, 512],
        stage_mid_channels=[16, 32, 64, 128],
        stage_out_channels=[64, 256, 512, 1024],
        hidden_sizes=[64, 256, 512, 1024],
        stage_num_blocks=[1, 1, 2, 1],
        stage_numb_of_layers=[3, 3, 3, 3],
        use_learnable_affine_block=True,
        out_features=["stage2", "stage3", "stage4"],
    )
    return transformers.DFineConfig(
        backbone_config=backbone,
        encoder_in_channels=[256, 512, 1024],
        decoder_layers=3,
        decoder_n_points=[3, 6, 3],
        hidden_expansion=0.5,
        depth_mult=0.34,
        num_labels=80,
    )


def make_ours(kind: str, theirs: torch.nn.Module, device: str) -> torch.nn.Module:
    """Our model with their weights."""
    cfg = get_cfg()
    add_project_configs(cfg)
    cfg.merge_from_file(find_config_file(RECIPES[kind]))
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        cfg.merge_from_list(["MODEL.WEIGHTS", folder, "MODEL.DEVICE", device])
        cfg.merge_from_list(["MODEL.BACKBONE.FREEZE_AT", 0])
        ours = build_model(cfg)
        DetectionCheckpointer(ours).load(folder)
    return ours


def seconds(step: Callable[[], object], device: str) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=tuple(RECIPES), default="rt_detr_v2")
    parser.add_argument("--size", type=int, default=256, help="side of the square images")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--objects", type=int, default=8, help="in each image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    # Both learn all weights; transformers freezes a backbone of its own as a whole in some models.
    theirs = make_theirs(args.kind).to(args.device).requires_grad_(True)
    ours = make_ours(args.kind, theirs, args.device)
    pixels = torch.rand(args.batch, 3, args.size, args.size, device=args.device)
    labels, items = [], []
    for image in pixels:
        boxes = torch.rand(args.objects, 4, device=args.device) * 0.2 + 0.3
        classes = torch.randint(0, 80, (args.objects,), device=args.device)
        labels.append({"class_labels": classes, "boxes": boxes})
        center, sides = boxes.split(2, dim=1)
        corners = torch.cat([center - sides / 2, center + sides / 2], dim=1) * args.size
        truth = Instances((args.size,) * 2, gt_boxes=Boxes(corners), gt_classes=classes)
        items.append({"image": image * 255, "instances": truth})

    def train_theirs() -> None:
        theirs.zero_grad()
        theirs(pixel_values=pixels, labels=labels).loss.backward()

    def train_ours() -> None:
        ours.zero_grad()
        sum(ours(items).values()).backward()

    @torch.no_grad()
    def predict_theirs() -> None:
        theirs(pixel_values=pixels)

    @torch.no_grad()
    def predict_ours() -> None:
        ours(items)

    for name, is_train, steps in (
        ("training step", True, (train_theirs, train_ours)),
        ("prediction", False, (predict_theirs, predict_ours)),
    ):
        theirs.train(is_train)
        ours.train(is_train)
        times: list[list[float]] = [[], []]
        for number in range(args.rounds + 1):
            for step, of_one in zip(steps, times, strict=True):
                taken = seconds(step, args.device)
                if number:  # The first round warms up.
                    of_one.append(taken)
        their, our = (statistics.median(of_one) for of_one in times)
        print(
            f"{name}: transformers {1e3 * their:.0f} ms, d2lite {1e3 * our:.0f} ms, "
            f"{our / their:.2f} times"
        )


if __name__ == "__main__":
    main()
