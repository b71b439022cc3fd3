"""cnnprof: what a convolutional network costs, layer by layer."""

__version__ = "0.1.0"
