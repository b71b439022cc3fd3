"""The predictor's front door: a graph and a device in, a :class:`Prediction` out."""

from __future__ import annotations

from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.devices.device import Device
from cnnprof.devices.find import find_device
from cnnprof.errors import UsageError
from cnnprof.ir import Graph
from cnnprof.predict.datasheet import predict_datasheet
from cnnprof.predict.prediction import Prediction

__all__ = ["predict"]


def predict(
    graph: Graph,
    device: str | Device | CalibratedDevice,
    *,
    batch: int | None = None,
    dtype: str | None = None,
    runner: str | None = None,
    threads: int | None = None,
) -> Prediction:
    """Predict the latency of one inference of ``graph`` on ``device``, layer by layer and end to end.

    ``device`` is a name of the catalogue ("rtx4090"), of a calibrated profile, a profile's file, or a record.
    ``batch`` defaults to the graph's own, ``dtype`` to float32 (datasheet) or what was calibrated. ``runner`` and
    ``threads`` choose how a datasheet prediction lowers the graph and how many cores it has; a calibrated profile has
    its own. Raises :class:`~cnnprof.errors.DeviceError` (no such device), :class:`~cnnprof.errors.SchemaError`
    (unreadable profile), :class:`UsageError` (an option that the device doesn't offer).
    """
    found = find_device(device) if isinstance(device, str) else device
    if graph.mode != "inference":
        raise UsageError("predict: latency is predicted for inference", "leave out --training")
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads}: expected 1 or more", "give the number of cores in use")
    if isinstance(found, Device):
        return predict_datasheet(graph, found, batch=batch, dtype=dtype, runner=runner, threads=threads)
    from cnnprof.predict.calibrated import predict_calibrated

    options = (("dtype", dtype, found.dtype), ("runner", runner, found.runner), ("threads", threads, found.threads))
    for name, wanted, own in options:
        if wanted is not None and wanted != own:
            raise UsageError(
                f"{found.name}: was calibrated with {name} {own}, asked for {wanted}",
                f"leave out --{name}, or calibrate again with --{name} {wanted}",
            )
    return predict_calibrated(graph, found, batch=batch)
