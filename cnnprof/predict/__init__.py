"""Latency predicted from a graph and a device, with intervals: :func:`cnnprof.predict.front.predict`."""
