"""Measure training, prediction, data, scoring or a whole run.

    d2lite benchmark --task train --config-file mask_rcnn_R_50_FPN_1x.yaml --against torchvision
    d2lite benchmark --task infer --config-file retinanet_R_50_FPN_1x.yaml --profile profile/
    d2lite benchmark --task infer --config-file quick_start.yaml --against onnxruntime,openvino-int8
    d2lite benchmark --task data --workers 0 4 --config-file quick_start.yaml
    d2lite benchmark --task coco-eval --images 500 --against pycocotools
    d2lite benchmark --task import --repeats 5
    d2lite benchmark --task end-to-end --config-file quick_start.yaml --repeats 20

What is compared is measured in turns (A B A B) in one run: times differ from machine to machine,
ratios less. The table gives medians and half the distance of the quartiles. train and infer work on
generated images, with the weights of a local file that MODEL.WEIGHTS names, or random ones; with
MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.0 such a model finds as many objects as an image may have.
--against takes torchvision, transformers, detectron2, eager (without MODEL.COMPILE), pycocotools,
or files that `d2lite export` writes: onnxruntime, openvino, torch, onnxruntime-int8, openvino-int8.
data compares the loader with torchvision's transforms. See docs/benchmarks.md.
"""

import argparse

from d2lite.utils.arguments import CommandParser, add_config_arguments, add_config_options
from d2lite.utils.number_arguments import whole_number

TASKS = ("train", "infer", "data", "coco-eval", "import", "end-to-end")


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite benchmark`."""
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "--task", choices=TASKS, default="data", help="what to measure (%(default)s)"
    )
    add_config_arguments(parser)
    add = parser.add_argument
    add(
        "--against",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="NAME",
        help="what to compare with; exported files: one or more, with commas",
    )
    add("--repeats", type=whole_number(1), default=3, help="measurements (%(default)s)")
    add(
        "--warmup",
        type=whole_number(0),
        default=1,
        help="runs before them that do not count (%(default)s)",
    )
    add(
        "--size",
        type=whole_number(1),
        nargs=2,
        default=[480, 640],
        metavar=("H", "W"),
        help="of images (480 640)",
    )
    add("--batch", type=whole_number(1), default=2, help="images of a step (%(default)s)")
    add("--objects", type=whole_number(0), default=8, help="in each generated image (%(default)s)")
    add("--own-data", action="store_true", help="train, infer: a batch of DATASETS.TRAIN instead")
    add("--device", help="cpu, cuda or mps; default: MODEL.DEVICE")
    add("--profile", metavar="DIR", help="train, infer: costs by module, and a trace in DIR")
    add("--json", metavar="FILE", help="write all samples, counts, machine and versions")
    add(
        "--num-images",
        type=whole_number(1),
        default=100,
        metavar="N",
        help="data, coco-eval (%(default)s)",
    )
    add("--workers", type=whole_number(0), nargs="+", default=[0, 2], help="data: processes (0 2)")
    add_config_options(parser, "opts")
    return parser


def main(args: argparse.Namespace) -> None:
    """Measure and print."""
    from .actions.benchmark import benchmark

    benchmark(args)
