"""Try the facilities on a model."""

import re
from pathlib import Path

import pytest

from d2lite.commands.program import main
from d2lite.utils.errors import UserError

from .facilities import FACILITIES, Trial
from .models import MODELS
from .table import WORKS, Row


def drawings(folder: Path) -> str:
    """Write the drawings of shapes_val as files; the dataset string of these."""
    with pytest.raises(SystemExit) as ended:
        main(["data", "convert", "shapes_val", "--to", "coco", "--output", str(folder)])
    assert not ended.value.code
    return f"coco:{folder}/annotations/instances_train.json@{folder}/train"


def cells_of(name: str, string: str, folder: Path, device: str = "cpu") -> Row:
    """What each facility gives with a model: "yes", or why it does not apply or is refused."""
    trial = Trial(MODELS[name], string, folder, device)
    return {facility: _cell(facility, trial) for facility in FACILITIES}


def _cell(facility: str, trial: Trial) -> str:
    try:
        return FACILITIES[facility](trial) or WORKS
    except UserError as error:
        # The reason, without the name of the class.
        first = re.sub(
            r"^Test-time augmentation got a \w+; it", "test-time augmentation", str(error)
        )
        return "refused: " + first.split(". ")[0].splitlines()[0].rstrip(".")
