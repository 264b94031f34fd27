"""tools/visualize_data.py draws annotations and what the loader yields."""

import pytest

from d2lite.data.image_io import read_image


@pytest.mark.parametrize("source", ["annotation", "dataloader"])
def test_as_many_pictures_as_asked_for(run, tmp_path, source):
    """Drawn at the size of the image, or of what the augmentation made of it."""
    result = run(
        *("visualize_data", "--source", source, "--config-file", "quick_start.yaml"),
        *("--output-dir", tmp_path, "--limit", 3),
        *("DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 2, "INPUT.MIN_SIZE_TRAIN", "(64,)"),
    )
    assert result.status == 0
    pictures = sorted(tmp_path.iterdir())
    assert len(pictures) == 3
    short_side = min(read_image(str(pictures[0]), "RGB").shape[:2])
    assert (short_side == 64) == (source == "dataloader")


def test_endless_stream_wants_a_limit(run, tmp_path):
    """Or it would fill the disk."""
    result = run(
        *("visualize_data", "--source", "dataloader", "--config-file", "quick_start.yaml"),
        *("--output-dir", tmp_path, "--limit", 0),
    )
    assert result.status == 2
    assert "--limit" in result.err
