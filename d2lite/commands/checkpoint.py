"""Convert weights of other libraries, or shrink a checkpoint.

    d2lite checkpoint resnet50-0676ba61.pth R-50.pth
    d2lite checkpoint fasterrcnn_resnet50_fpn_coco-258fb6c6.pth detector.pth
    d2lite checkpoint output/model_final.pth small.safetensors --strip
    d2lite checkpoint model_final_280758.pkl coco.pth --classes coco_2017_val

It reads files of torchvision, timm, detectron2, Caffe2 and AdelaiDet, as training does without
this command. It makes files that are small (--strip), that say which classes they know (--classes;
see MODEL.KEEP_MATCHING_CLASSES), that carry whole names (--config-file), and whose name is checked
when they are downloaded (--hash).
"""

import argparse

from d2lite.utils.arguments import IntermixedParser, add_config_arguments, add_config_options


def build_parser() -> argparse.ArgumentParser:
    """The options of `d2lite checkpoint`."""
    parser = IntermixedParser(description=__doc__)
    parser.add_argument("source", help="file or address: .pth, .pt, .pkl, .safetensors")
    parser.add_argument("target", help="file to write: .pth, .pt or .safetensors")
    add_config_arguments(parser)
    parser.add_argument(
        "--strip", action="store_true", help="leave out optimizer, schedule and the run's state"
    )
    parser.add_argument(
        "--hash", action="store_true", help="write NAME-0676ba61.pth, with the file's SHA-256"
    )
    parser.add_argument(
        "--classes",
        default="",
        help="a dataset's name, or a file with one class name a line: written into the file",
    )
    add_config_options(parser, "--opts")
    return parser


def main(args: argparse.Namespace) -> None:
    """Convert one file."""
    from .actions.convert_checkpoint import convert_file

    convert_file(args)
