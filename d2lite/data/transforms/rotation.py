"""RotationTransform: turn an image and what is on it.

Coordinates are continuous, (x, y) in pixels: pixel i spans [i, i + 1).
"""

import numpy as np
from fvcore.transforms.transform import Transform, TransformList
from PIL import Image

from .geometric import ExtentTransform, refuse_other_size


class RotationTransform(Transform):
    """Turn the image counter-clockwise around a point."""

    # What comes in from outside has no label; see `labels.transform_labels`.
    shows_outside = True

    def __init__(
        self,
        h: int,
        w: int,
        angle: float,
        expand: bool = True,
        center: tuple[float, float] | None = None,
        interp: int | None = None,
    ) -> None:
        """Work out the size after the turn.

        Args:
            h: image height, pixels.
            w: image width, pixels.
            angle: degrees, counter-clockwise.
            expand: make the output large enough to hold the whole turned image, centred;
                otherwise the output keeps the image's size.
            center: (x, y) of the point that stays, None for the middle. No meaning with `expand`.
            interp: an OpenCV interpolation flag; None means linear.
        """
        super().__init__()
        self.h, self.w, self.angle, self.expand = h, w, angle, expand
        self.center = np.array([w / 2, h / 2]) if center is None else np.asarray(center, float)
        self.interp = 1 if interp is None else int(interp)
        cos, sin = abs(np.cos(np.deg2rad(angle))), abs(np.sin(np.deg2rad(angle)))
        self.bound_w, self.bound_h = w, h
        if expand:
            self.bound_w = int(np.rint(h * sin + w * cos))
            self.bound_h = int(np.rint(h * cos + w * sin))

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width after the turn."""
        return self.bound_h, self.bound_w

    def create_rotation_matrix(self, offset: float = 0) -> np.ndarray:
        """The (2, 3) matrix that takes (x, y, 1) to its place after the turn.

        Args:
            offset: 0 for continuous coordinates; -0.5 for indices of pixels, whose middle is
                half a pixel further.
        """
        angle = np.deg2rad(self.angle)
        # y points down, so a counter-clockwise turn has the minus sign below the diagonal.
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        pivot = np.array([self.w / 2, self.h / 2]) if self.expand else self.center
        target = np.array([self.bound_w / 2, self.bound_h / 2]) if self.expand else self.center
        shift = (target + offset) - turn @ (pivot + offset)
        return np.concatenate([turn, shift[:, None]], axis=1)

    def _keeps(self, values: np.ndarray) -> bool:
        """Whether there is nothing to turn: no values, or whole turns."""
        return not len(values) or not self.angle % 360

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Turn a (h, w) or (h, w, C) image; what comes in from outside is 0."""
        if self._keeps(img):
            return img
        refuse_other_size(self, img)
        method = self.interp if interp is None else int(interp)
        size = (self.bound_w, self.bound_h)
        return warp_affine(img, self.create_rotation_matrix(offset=-0.5), size, method)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Turn (N, 2) coordinates; returns a new float array."""
        coords = np.asarray(coords, dtype=float)
        if self._keeps(coords):
            return coords
        matrix = self.create_rotation_matrix()
        return coords @ matrix[:, :2].T + matrix[:, 2]

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Turn a map of labels by its nearest pixels."""
        return self.apply_image(segmentation, interp=0)

    def inverse(self) -> Transform:
        """Turn back to the frame of the original image.

        Raises:
            NotImplementedError: without `expand`, because corners of the image were cut off.
        """
        if not self.expand:
            raise NotImplementedError(
                "A rotation with expand=False cut corners off and cannot be inverted; "
                "use expand=True."
            )
        back = RotationTransform(self.bound_h, self.bound_w, -self.angle, True, None, self.interp)
        left, top = (back.bound_w - self.w) / 2, (back.bound_h - self.h) / 2
        # DIFFERS: the extent keeps half pixels that a crop would round away.
        window = (left, top, left + self.w, top + self.h)
        cut = ExtentTransform(window, (self.h, self.w), seg_interp=int(Image.Resampling.NEAREST))
        return TransformList([back, cut])


def warp_affine(
    img: np.ndarray, matrix: np.ndarray, size: tuple[int, int], method: int, fill: float = 0
) -> np.ndarray:
    """OpenCV's warpAffine for arrays of any dtype and number of channels.

    Args:
        img: (H, W) or (H, W, C).
        matrix: (2, 3) float, from indices of pixels to such indices.
        size: width and height after.
        method: an OpenCV interpolation flag.
        fill: value of what comes in from outside.
    """
    try:
        import cv2  # optional: minimal systems lack the libraries that it loads
    except ImportError as err:
        raise ImportError(
            f"Rotating an image needs OpenCV, which does not load here ({err}). "
            "Try: pip install opencv-python-headless"
        ) from err
    if img.dtype in (np.uint8, np.int16, np.uint16, np.float32, np.float64):
        source = img
    elif img.dtype == bool:
        source = img.astype(np.uint8)
    else:
        source = img.astype(np.float64)
    # OpenCV takes at most four channels at a time and drops an axis of length one.
    planes = source.reshape(*source.shape[:2], -1)
    blocks = [
        cv2.warpAffine(
            np.ascontiguousarray(planes[:, :, i : i + 4]),
            matrix,
            size,
            flags=method,
            borderValue=(fill,) * 4,
        )
        for i in range(0, planes.shape[2], 4)
    ]
    warped = np.concatenate([block.reshape(size[1], size[0], -1) for block in blocks], axis=2)
    return warped.reshape(size[1], size[0], *img.shape[2:]).astype(img.dtype)
