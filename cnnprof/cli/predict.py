"""``cnnprof predict``: how long a model takes on a device, without running it."""

from __future__ import annotations

from typing import Any

import click

from cnnprof.cli.options import model_argument, model_options

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof predict torchvision:resnet50 --device rtx4090 -b 64 --dtype float16
  cnnprof predict model.onnx --device i7-12700h
  cnnprof predict model.onnx --device mine.json --top 20
  cnnprof predict torchvision:resnet50 --device a100 -f json -o predicted.json
"""


@click.command("predict", epilog=_EPILOG, short_help="How long a model takes on a device, without running it.")
@model_argument
@model_options
@click.option("-d", "--device", required=True, metavar="NAME", help="See: cnnprof devices list. Or a profile's file.")
@click.option("--dtype", metavar="TYPE", help="float32, tfloat32, float16, bfloat16, int8, ... (datasheet devices).")
@click.option("--runner", type=click.Choice(["torch", "fused", "onnxruntime"]), help="How the graph is executed.")
@click.option("--threads", type=click.IntRange(min=1), help="Cores in use (CPU datasheets; default all).")
@click.option("--top", type=click.IntRange(min=0), default=15, show_default=True, help="Rows: the slowest layers.")
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="JSON is the whole profile with its prediction.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Write there instead of standard output.")
@click.option("-q", "--quiet", is_flag=True, help="No notes on standard error.")
def command(
    *,
    model: str,
    device: str,
    dtype: str | None,
    runner: str | None,
    threads: int | None,
    top: int,
    form: str,
    output: str | None,
    quiet: bool,
    **options: Any,
) -> None:
    """How long one inference of MODEL takes on a device: layer by layer and end to end, with a 90 % interval.

    A datasheet device gives a roofline at default efficiencies, marked "datasheet"; a calibrated one
    (cnnprof calibrate) what its machine and runner were measured to do.
    """
    from cnnprof.api import profile_graph
    from cnnprof.cli.options import graph_of
    from cnnprof.cli.output import console, deliver, say_notes
    from cnnprof.devices.find import find_device
    from cnnprof.predict.front import predict
    from cnnprof.render.latency_text import print_prediction
    from cnnprof.timing import with_prediction

    found = find_device(device)  # before the model is read: a wrong name should not cost a minute
    _say_stale(found, quiet=quiet)
    graph = graph_of(model, options)
    prediction = predict(graph, found, dtype=dtype, runner=runner, threads=threads)
    if form == "json":
        profile = with_prediction(profile_graph(graph), prediction)
        say_notes(profile, quiet=quiet)
        deliver(profile.to_json(), output)
        return
    terminal = console()
    with terminal.capture() as captured:
        print_prediction(terminal, graph.source.name, prediction.to_dict(), top=top)
    deliver(captured.get(), output)


def _say_stale(device: Any, *, quiet: bool) -> None:
    """Calibrated with other libraries than are installed: still a prediction, but say so."""
    from cnnprof.devices.calibrated import CalibratedDevice

    if quiet or not isinstance(device, CalibratedDevice):
        return
    from cnnprof.measure.hardware import installed

    for line in device.stale(installed("torch", "onnxruntime")):
        click.echo(f"note: {line}; calibrate again for this version", err=True)
