"""``cnnprof measure``: run a model here and say how long it takes, or that the machine was too noisy to say."""

from __future__ import annotations

from typing import Any

import click

from cnnprof.cli.interrupt import kill_keeps
from cnnprof.cli.options import model_argument, model_options

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof measure torchvision:resnet18
  cnnprof measure model.onnx --runner onnxruntime --threads 4
  cnnprof measure torchvision:resnet50 --device cuda --cuda-graph --batch 32
  cnnprof measure torchvision:resnet18 --predict mine -f json -o timed.json
"""


@click.command("measure", epilog=_EPILOG, short_help="Run a model here and say how long it takes.")
@model_argument
@model_options
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--runner", type=click.Choice(["torch", "torch-compile", "onnxruntime"]),
              help="Default: onnxruntime for ONNX files, else torch.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--cuda-graph", is_flag=True, help="Replay a CUDA graph: the same kernels without the host.")
@click.option("--flush-l2", is_flag=True, help="Empty the GPU's L2 cache before every run (torch on CUDA).")
@click.option("--visits", type=click.IntRange(min=3), default=5, show_default=True, help="Rounds of samples.")
@click.option("--samples", type=click.IntRange(min=3), default=20, show_default=True, help="Least runs a visit.")
@click.option("--no-layers", is_flag=True, help="End to end only.")
@click.option("--predict", "predicted_on", metavar="DEVICE", help="Also predict for this device, to compare.")
@click.option("--top", type=click.IntRange(min=0), default=15, show_default=True, help="Rows: the slowest layers.")
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="JSON is the whole profile with its measurement.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Write there instead of standard output.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and notes on standard error.")
@kill_keeps
def command(
    *,
    model: str,
    device: str,
    runner: str | None,
    threads: int,
    cuda_graph: bool,
    flush_l2: bool,
    visits: int,
    samples: int,
    no_layers: bool,
    predicted_on: str | None,
    top: int,
    form: str,
    output: str | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Run MODEL on this machine with random inputs and say how long one inference takes, layer by layer.

    Layers and what lies between them sum to the end-to-end time. If the machine was too noisy for a result, that is
    the result. Ctrl-C keeps what was measured so far.
    """
    from cnnprof.api import profile_graph
    from cnnprof.cli.options import graph_of
    from cnnprof.cli.output import console, deliver, say_notes
    from cnnprof.devices.find import find_device
    from cnnprof.measure.run import anchor_for, l2_flush_for, measure, runner_for
    from cnnprof.measure.session import Plan
    from cnnprof.render.latency_text import print_measurement
    from cnnprof.timing import with_measurement, with_prediction

    found = None if predicted_on is None else find_device(predicted_on)
    graph = graph_of(model, options)
    _enough_memory(graph)
    chosen = runner or ("onnxruntime" if graph.source.format == "onnx" else "torch")
    made = runner_for(
        model, graph, runner=chosen, device=device, threads=threads, cuda_graph=cuda_graph,
        options={**options, "kwargs": _kwargs(options)},
    )  # fmt: skip
    plan = Plan(visits=visits, samples=samples)
    try:
        with click.progressbar(length=visits, label="measuring", file=_stderr(quiet)) as bar:
            result = measure(
                made, graph, plan=plan, layers=not no_layers, anchor=anchor_for(made),
                flush_l2=l2_flush_for(made) if flush_l2 else None, progress=lambda *_: bar.update(1),
            )  # fmt: skip
    finally:
        made.close()
    if form == "json":
        profile = with_measurement(profile_graph(graph), result)
        if found is not None:
            from cnnprof.predict.front import predict

            profile = with_prediction(profile, predict(graph, found))
        say_notes(profile, quiet=quiet)
        deliver(profile.to_json(), output)
        return
    terminal = console()
    with terminal.capture() as captured:
        print_measurement(terminal, graph.source.name, result.to_dict(), top=top)
        if found is not None:
            from cnnprof.predict.front import predict
            from cnnprof.render.latency_text import print_prediction

            print_prediction(terminal, graph.source.name, predict(graph, found).to_dict(), top=0)
    deliver(captured.get(), output)


def _kwargs(options: dict[str, Any]) -> dict[str, Any]:
    from cnnprof.cli.options import parse_kwargs

    return parse_kwargs(options.get("kwargs") or ())


def _enough_memory(graph: Any) -> None:
    """Refuse a model that can't fit before it is built."""
    from cnnprof.analyses.memory import memory
    from cnnprof.errors import DeviceError
    from cnnprof.measure.hardware import memory_available_bytes
    from cnnprof.render.quantities import nbytes

    there = memory_available_bytes()
    needed = memory(graph).peak_bytes
    if there is not None and needed > there:
        raise DeviceError(
            f"{graph.source.name}: needs at least {nbytes(needed)} of memory, {nbytes(there)} are free",
            "try a smaller --batch or --input",
        )


def _stderr(quiet: bool) -> Any:
    import io
    import sys

    return io.StringIO() if quiet or not sys.stderr.isatty() else sys.stderr
