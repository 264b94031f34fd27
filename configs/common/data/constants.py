"""Mean and deviation of the pixels that published backbones were trained with, range 0 to 255."""

_RGB_MEAN, _RGB_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]

constants = dict(
    imagenet_rgb256_mean=_RGB_MEAN,
    imagenet_rgb256_std=_RGB_STD,
    # Weights of MSRA and Caffe2 take BGR and were trained without a division.
    imagenet_bgr256_mean=_RGB_MEAN[::-1],
    imagenet_bgr256_std=[1.0, 1.0, 1.0],
)
