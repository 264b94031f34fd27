"""Reading images: decoding, their channels, maps of classes."""
