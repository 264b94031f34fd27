"""tools/visualize_data.py draws annotations and what the loader yields."""

import pytest
import torch

from d2lite.data.catalog import Metadata
from d2lite.data.images.image_io import read_image
from d2lite.engine.reports.sample_pictures import draw_sample
from d2lite.structures import Boxes, Instances
from tests.data import spec_files as make


@pytest.mark.parametrize("source", ["annotation", "dataloader"])
def test_as_many_pictures_as_asked_for(run, tmp_path, source):
    """Drawn at the size of the image, or of what the augmentation made of it."""
    result = run(
        *("visualize_data", "--source", source, "--config-file", "quick_start.yaml"),
        *("--output-dir", tmp_path, "--num-images", 3),
        *("DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 2, "INPUT.MIN_SIZE_TRAIN", "(100,)"),
    )
    assert result.status == 0
    pictures = sorted(tmp_path.iterdir())
    assert len(pictures) == 3
    short_side = min(read_image(str(pictures[0]), "RGB").shape[:2])
    # Both are enlarged for their labels by a whole number: 100 pixels by 5, 128 or 144 by 4.
    assert (short_side == 500) == (source == "dataloader")


def test_a_folder_is_drawn_with_all_its_splits(run, tmp_path):
    for split in ("train", "val"):
        make.picture(tmp_path / "photos" / split / "images" / "a.jpg")
        make.coco(tmp_path / "photos" / split / "labels.json", files=["a.jpg"])
    result = run("visualize_data", tmp_path / "photos", "--output-dir", tmp_path / "look")
    assert result.status == 0, result.err
    assert len(list((tmp_path / "look").iterdir())) == 2


def test_endless_stream_wants_a_limit(run, tmp_path):
    """Or it would fill the disk."""
    result = run(
        *("visualize_data", "--source", "dataloader", "--config-file", "quick_start.yaml"),
        *("--output-dir", tmp_path, "--num-images", 0),
    )
    assert result.status == 2
    assert "--num-images" in result.err


def test_images_that_cannot_be_drawn_are_left_out_and_counted(run, tmp_path):
    """The look before a training must not end where the training goes on."""
    files = ["missing.jpg", "broken.jpg", "other_size.jpg", "good.jpg"]
    path = make.coco(tmp_path / "x.json", objects=[(i, 1) for i in range(4)], files=files)
    (tmp_path / "broken.jpg").write_bytes(b"x")
    make.picture(tmp_path / "other_size.jpg", (7, 7))
    make.picture(tmp_path / "good.jpg")
    options = "--output-dir", tmp_path / "look", "DATASETS.TRAIN", f"('coco:{path}@{tmp_path}',)"
    result = run("visualize_data", *options)
    assert result.status == 0, result.err
    assert [p.name for p in (tmp_path / "look").iterdir()] == ["00001_good.jpg"]
    assert "3 of 4 images cannot be drawn" in result.out + result.err
    (tmp_path / "good.jpg").unlink()
    result = run("visualize_data", *options)
    assert result.status == 2
    assert "4 of 4 images cannot be drawn, for instance: There is no image file" in result.err


def test_a_map_of_classes_is_drawn_too():
    """A semantic model has nothing else to look at."""
    sample = {"image": torch.zeros(3, 40, 50, dtype=torch.uint8)}
    sample["sem_seg"] = torch.full((40, 50), 255)
    sample["sem_seg"][:, 25:] = 1
    metadata = Metadata(stuff_classes=["ground", "sky"], stuff_colors=[[255, 0, 0], [0, 0, 255]])
    drawn = draw_sample(sample, "RGB", metadata)
    width = drawn.shape[1]
    assert drawn[2:-2, : width // 2 - 6].max() == 0
    assert drawn[2:-2, width // 2 + 6 :, 2].max() > 50


def test_objects_of_a_class_have_its_colour():
    truth = Instances((40, 50))
    truth.gt_boxes = Boxes([[5, 5, 20, 30], [25, 5, 45, 30]])
    truth.gt_classes = torch.tensor([1, 1])
    sample = {"image": torch.zeros(3, 40, 50, dtype=torch.uint8), "instances": truth}
    metadata = Metadata(thing_classes=["cat", "dog"], thing_colors=[[255, 0, 0], [0, 0, 255]])
    drawn = draw_sample(sample, "RGB", metadata).astype(int)
    bottom = drawn[drawn.shape[0] // 2 :]
    assert bottom[..., 2].max() > 150
    assert (bottom[..., 2] >= bottom[..., 0]).all()
