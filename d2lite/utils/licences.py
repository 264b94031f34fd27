"""licence_of: under which terms a file is published that d2lite fetches by its address."""

# Part of an address -> terms. docs/licences.md has the same with sources.
LICENCES = {
    "dl.fbaipublicfiles.com/detectron2/": "detectron2's weights are published under CC BY-SA 3.0",
    "dl.fbaipublicfiles.com/detectron/": "Detectron's weights are published under CC BY-SA 3.0",
    "dl.fbaipublicfiles.com/LVIS/": "LVIS's annotations are published under CC BY 4.0",
    "AdelaiDet": "AdelaiDet and its weights are free for non-commercial use only",
    "cocodataset.org": "COCO's annotations are published under CC BY 4.0; the photographs keep the "
    "licences of their owners on Flickr",
    "pascal/VOC": "the photographs of VOC keep the terms of Flickr and of their owners",
    "BCCD_Dataset": "BCCD is published under the MIT licence",
    "download.pytorch.org": "torchvision's weights are given without a licence of their own; those "
    "of ImageNet's photographs are for research",
}


def licence_of(url: str) -> str | None:
    """The terms of a file, in a sentence without its full stop; None where they are not known."""
    return next((terms for part, terms in LICENCES.items() if part in url), None)
