"""FACE: the old address of the keyed random draws; see `d2lite.utils.keyed_rng`."""

from .keyed_rng import draw_key, image_generator, keyed_draws, keyed_images

__all__ = ["draw_key", "image_generator", "keyed_draws", "keyed_images"]
