"""MixUp: two images shining through each other.

Source: Zhang 2018, arXiv:1710.09412; for detection Zhang 2019, arXiv:1902.04103, section 3.1.
"""

from dataclasses import replace

import numpy as np

from .labelled_image import LabelledImage
from .mixing import DrawPartner, MixingAugmentation, fit_into


class MixUp(MixingAugmentation):
    """Blend another image into this one; the objects of both count.

    The result has this image's size: the other one is cut to it, or lies somewhere inside.
    """

    def __init__(self, alpha: float = 32.0, prob: float = 0.5) -> None:
        """Store the weights' distribution.

        Args:
            alpha: this image's weight comes from Beta(alpha, alpha): around one half, and the
                closer the greater alpha is.
            prob: how often it is done.

        Raises:
            ValueError: if alpha is not above 0.
        """
        super().__init__(prob)
        if alpha <= 0:
            raise ValueError(f"alpha={alpha}; it must be above 0.")
        self.alpha = alpha

    def mix(self, labelled: LabelledImage, draw_partner: DrawPartner) -> LabelledImage:
        """The blend."""
        weight = float(np.random.beta(self.alpha, self.alpha))
        part, x0, y0 = fit_into(draw_partner(), labelled.size)
        mixed = replace(labelled, image=labelled.image.copy())
        if labelled.sem_seg is not None:
            mixed.sem_seg = labelled.sem_seg.copy()
        mixed.lay(part, x0, y0)
        window = (slice(y0, y0 + part.size[0]), slice(x0, x0 + part.size[1]))
        below = labelled.image[window].astype(np.float32)
        blend = below * weight + part.image.astype(np.float32) * (1 - weight)
        if np.issubdtype(labelled.image.dtype, np.integer):
            blend = np.rint(blend)
        mixed.image[window] = blend.astype(labelled.image.dtype)
        if mixed.sem_seg is not None:
            # A pixel that shows two classes has no one class.
            differs = mixed.sem_seg != labelled.sem_seg
            mixed.sem_seg[differs] = labelled.ignore_value
        return mixed
