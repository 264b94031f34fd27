"""MatplotlibAxes: a page over a picture, for code that draws with matplotlib."""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lite.utils.errors import MissingPackageError

_DPI = 100


class _NotInstalled:
    """Stands for the axes where matplotlib is not installed; using them says so."""

    def __getattr__(self, name: str) -> Any:
        raise MissingPackageError(
            f"output.ax.{name} needs matplotlib, which cannot be imported. Try: pip install "
            "matplotlib. The Visualizer's own draw_* methods do not need it."
        )


class MatplotlibAxes:
    """A figure of the canvas's size, whose coordinates are pixels of the original picture.

    Saved or shown by matplotlib it has the picture below what is drawn on it.

    Attributes:
        ax: matplotlib's axes.
    """

    def __init__(
        self, width: int, height: int, scale: float, picture: Callable[[], np.ndarray]
    ) -> None:
        """Make an empty page.

        Args:
            width: of the original picture, in pixels.
            height: of the original picture, in pixels.
            scale: canvas pixels for each of them.
            picture: gives the (H, W, 3) uint8 RGB of the canvas as it is then.
        """
        self._canvas: Any = None
        self._picture: Any = None
        self.ax: Any = _NotInstalled()
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg  # optional: few draw so
            from matplotlib.figure import Figure
            from matplotlib.image import AxesImage
        except ImportError:
            return
        # A little more than needed, since the canvas cuts off fractions of a pixel.
        size = ((width * scale + 1e-2) / _DPI, (height * scale + 1e-2) / _DPI)
        figure = Figure(figsize=size, dpi=_DPI, frameon=False)
        self._canvas = FigureCanvasAgg(figure)
        self.ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self.ax.axis("off")
        self.ax.set_xlim(0, width)
        self.ax.set_ylim(height, 0)

        class Picture(AxesImage):
            """The canvas as it is when it is drawn, which may be long after the axes are made."""

            def draw(self, renderer: Any) -> None:
                if self.get_visible():
                    self.set_data(picture())
                super().draw(renderer)

        pixels = picture()
        # The canvas's pixels and not a fraction more, which matplotlib before 3.11 would round up
        # to another pixel and spread the picture over it.
        right = width * (pixels.shape[1] - 1e-3) / (size[0] * _DPI)
        bottom = height * (pixels.shape[0] - 1e-3) / (size[1] * _DPI)
        extent = (0, right, bottom, 0)
        self._picture = Picture(self.ax, extent=extent, interpolation="nearest", zorder=-1)
        self._picture.set_data(pixels)
        self.ax.add_image(self._picture)

    def lay_over(self, image: np.ndarray) -> np.ndarray:
        """What was drawn on the axes over an image.

        Args:
            image: (H, W, 3) uint8 RGB of the canvas's size.
        """
        if self._canvas is None:
            return image
        self._picture.set_visible(False)
        self._canvas.draw()
        self._picture.set_visible(True)
        page = np.asarray(self._canvas.buffer_rgba())[: image.shape[0], : image.shape[1]]
        part = image[: page.shape[0], : page.shape[1]].astype(np.float32)
        opacity = page[:, :, 3:].astype(np.float32) / 255
        result = image.copy()
        mixed = part + (page[:, :, :3].astype(np.float32) - part) * opacity
        result[: page.shape[0], : page.shape[1]] = mixed.round().astype(np.uint8)
        return result
