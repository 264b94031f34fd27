"""What `d2lite data check` does: look for faults in datasets."""

import argparse
import os
from pathlib import Path

from d2lite.data.checking import check_dataset, cleaned_coco, compare_sets, fault_table
from d2lite.data.datasets.by_string.auto_layout import is_recognised, recognise
from d2lite.data.datasets.by_string.source import find_path
from d2lite.data.datasets.by_string.splits import WHOLE
from d2lite.utils.errors import ConfigError
from d2lite.utils.file_io import make_folder, write_json_file
from d2lite.utils.live_line import live_line, on_terminal


def show_progress(done: int, total: int) -> None:
    """How far it has come, where somebody watches."""
    if on_terminal() and (done % 20 == 0 or done == total):
        live_line.show(f"{done} of {total} images")


def sets_of(spec: str, is_fixed: bool = False) -> list[str]:
    """All splits of a folder, of `auto:FOLDER` or of a file; other strings name one set."""
    # Without the slash at the end that a shell completes.
    path = spec.removeprefix("auto:").rstrip("/") or "/"
    if is_fixed or not (os.path.isdir(path) or (path == spec and os.path.exists(path))):
        return [spec]
    splits = recognise(find_path(path, suits=is_recognised))
    # VOC's trainval is its other two together.
    named = [s for s in splits if s != WHOLE and (s != "trainval" or "train" not in splits)]
    named.sort(key=lambda split: split != "train")  # the others are compared with it
    return [f"auto:{path}@{split}" for split in named] or [f"auto:{path}"]


def check_data(args: argparse.Namespace) -> int:
    """Check all sets, print one table each; return the exit status."""
    if args.fix and len(args.specs) > 1:
        raise ConfigError("--fix takes one DATA: each set needs a file of its own.")
    if args.fix:
        make_folder(Path(args.fix).parent, "--fix")
    sets = []
    for name in [name for spec in args.specs for name in sets_of(spec, bool(args.fix))]:
        checked = check_dataset(
            name, num_threads=args.threads, progress=show_progress, mask_format=args.masks
        )
        sets.append(checked)
        live_line.finish()
    compare_sets(sets)
    for checked in sets:
        print(fault_table(checked, action="in_copy" if args.fix else "in_training"))
    if args.fix:
        content, root = cleaned_coco(sets[0])
        write_json_file(args.fix, content)
        counts = f"{len(content['images'])} images, {len(content['annotations'])} objects"
        print(f"Wrote {counts}. Use it as coco:{args.fix}@{root}")
    return int(any(checked.faults.has_faults for checked in sets))
