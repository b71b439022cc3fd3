"""``cnnprof memory``: what is alive when, the peak, and what would lower it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cnnprof.cli.options import model_argument, model_options

if TYPE_CHECKING:
    from cnnprof.analyses.memory import MemoryResult
    from cnnprof.ir import Graph
    from cnnprof.measure.memory_record import Comparison, MeasuredMemory

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof memory model.onnx
  cnnprof memory torchvision:resnet50 --training --optimizer adam -b 32
  cnnprof memory torchvision:resnet50 --training --checkpoint 'layer*'
  cnnprof memory torchvision:resnet50 --training --optimizer adam --fit 16GiB
  cnnprof memory timm:vit_tiny_patch16_224 --dtype weights=int8
  cnnprof memory timm:dla34 --reorder -f json | jq .memory.reordered
  cnnprof memory torchvision:resnet18 --measure
"""


@click.command("memory", epilog=_EPILOG, short_help="What is alive when, the peak, what would lower it.")
@model_argument
@model_options
@click.option(
    "--dtype", "dtypes", multiple=True, metavar="[weights=|activations=]TYPE",
    help="What if floating-point weights and activations had this type: float16, bfloat16, int8, ...",
)  # fmt: skip
@click.option(
    "--checkpoint", "checkpoints", multiple=True, metavar="GLOB",
    help="With --training: what if these modules were recomputed in backward, e.g. 'layer*'.",
)  # fmt: skip
@click.option("--fit", "budget", metavar="SIZE", help="Largest batch and square input that fit, e.g. 16GiB.")
@click.option("--reorder", is_flag=True, help="Look for an execution order with a lower peak (heuristic).")
@click.option(
    "--rounding", type=click.IntRange(min=1), default=1, metavar="BYTES", show_default=True,
    help="Allocator's granule: 512 for torch on CUDA.",
)  # fmt: skip
@click.option("--measure", is_flag=True, help="Run it and compare (PyTorch models).")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where --measure runs.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Rows of live tensors.")
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Write there instead of standard output.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    model: str,
    dtypes: tuple[str, ...],
    checkpoints: tuple[str, ...],
    budget: str | None,
    reorder: bool,
    rounding: int,
    measure: bool,
    device: str,
    top: int,
    form: str,
    output: str | None,
    **options: Any,
) -> None:
    """How much memory MODEL takes: weights, activations over the run, the peak and what is alive there.

    A tensor lives from its producer to its last reader; --training adds what is kept for backward, gradients and
    optimizer state. The planned arena gives every activation a fixed place before anything runs.
    Exit code 1 if --fit finds that nothing fits.
    """
    from cnnprof.analyses.memory import fit_memory, memory
    from cnnprof.analyses.memory.dtypes import parse_dtype_options
    from cnnprof.analyses.memory.fit import parse_bytes
    from cnnprof.cli.options import graph_of

    budget_bytes = None if budget is None else parse_bytes(budget)
    weights, activations = parse_dtype_options(dtypes)
    if measure:
        _refuse_measuring(model, dtypes, checkpoints)
    graph = graph_of(model, options)
    result = memory(
        graph,
        weight_dtype=weights,
        activation_dtype=activations,
        checkpoint_modules=checkpoints,
        rounding_bytes=rounding,
        reordering=reorder,
    )
    if budget_bytes is not None:
        result = fit_memory(result, budget_bytes, _graph_at(model, options, graph), side=_square_side(graph))
    measured, comparison = _measured(model, options, device, graph, result) if measure else (None, None)
    _print(graph, result, measured, comparison, form=form, output=output, top=top)
    if result.fit is not None and result.fit.batch.value == 0:
        click.echo(f"error: --fit {budget}: {_why_not(result)}", err=True)
        ctx.exit(1)


def _print(
    graph: Graph,
    result: MemoryResult,
    measured: MeasuredMemory | None,
    comparison: Comparison | None,
    *,
    form: str,
    output: str | None,
    top: int,
) -> None:
    from cnnprof.cli.output import deliver

    if form == "json":
        import json

        data: dict[str, Any] = {"model": graph.source.name, "memory": result.to_dict()}
        if measured is not None and comparison is not None:
            data |= {"measured": measured.to_dict(), "comparison": comparison.to_dict()}
        deliver(json.dumps(data, indent=1, sort_keys=True) + "\n", output)
        return
    from cnnprof.render.memory_text import memory_text
    from cnnprof.render.quantities import shape

    inputs = ", ".join(f"{name} {shape(graph.tensors[name].shape)}" for name in graph.inputs)
    title = f"{graph.source.name}: memory, {graph.mode}, {inputs}"
    deliver(memory_text(title, result, top=top, measured=measured, comparison=comparison), output)


def _graph_at(model: str, options: dict[str, Any], graph: Graph) -> Any:
    """The model's graph at another batch or another side of its square inputs."""
    from dataclasses import replace

    from cnnprof.api import load
    from cnnprof.cli.options import parse_kwargs
    from cnnprof.frontends.inputs import InputSpec, parse_inputs

    given = parse_inputs(options.get("inputs") or ())
    alone = len(graph.inputs) == 1
    tensors = [graph.tensors[name] for name in graph.inputs]
    specs = [InputSpec(t.shape or (), None if alone else t.name, t.dtype) for t in tensors]

    def graph_at(batch: int | None, side: int | None) -> Graph:
        inputs = list(given)
        if side is not None:
            inputs = [replace(s, shape=_resized(s.shape, side)) for s in (given or specs)]
        return load(
            model,
            inputs=inputs,
            batch=options.get("batch") if batch is None else batch,
            kwargs=parse_kwargs(options.get("kwargs") or ()),
            training=bool(options.get("training")),
            optimizer=options.get("optimizer"),
        )

    return graph_at


def _resized(shape: tuple[int, ...], side: int) -> tuple[int, ...]:
    return (*shape[:-2], side, side) if _is_square_image(shape) else shape


def _is_square_image(shape: tuple[int, ...] | None) -> bool:
    return shape is not None and len(shape) == 4 and shape[-1] == shape[-2] > 1


def _square_side(graph: Graph) -> int | None:
    """The side of the first input that is a batch of square images."""
    shapes = [graph.tensors[name].shape for name in graph.inputs]
    return next((shape[-1] for shape in shapes if shape is not None and _is_square_image(shape)), None)


def _refuse_measuring(model: str, dtypes: tuple[str, ...], checkpoints: tuple[str, ...]) -> None:
    from cnnprof.errors import UsageError
    from cnnprof.frontends.sources import is_torch_reference

    if not is_torch_reference(model):
        raise UsageError(f"{model}: --measure runs PyTorch models", "for example torchvision:resnet18")
    if dtypes or checkpoints:
        raise UsageError("--measure: runs the model as it is", "leave out --dtype and --checkpoint")


def _measured(
    model: str, options: dict[str, Any], device: str, graph: Graph, result: MemoryResult
) -> tuple[MeasuredMemory, Comparison]:
    from cnnprof.cli.options import parse_kwargs
    from cnnprof.frontends.inputs import parse_inputs
    from cnnprof.measure.memory_record import compare
    from cnnprof.measure.memory_run import measure_reference

    measured = measure_reference(
        model,
        inputs=parse_inputs(options.get("inputs") or ()),
        batch=options.get("batch"),
        kwargs=parse_kwargs(options.get("kwargs") or ()),
        training=bool(options.get("training")),
        optimizer=options.get("optimizer"),
        device=device,
    )
    return measured, compare(result, [op.op_type for op in graph.ops], measured)


def _why_not(result: MemoryResult) -> str:
    from cnnprof.render.quantities import nbytes

    if result.fit is not None and result.fit.budget_bytes < result.weight_bytes:
        return f"the weights alone take {nbytes(result.weight_bytes)}; give more, or a narrower --dtype weights=TYPE"
    needs = None if result.fit is None else result.fit.batch.next_peak_bytes
    return f"a batch of 1 needs {nbytes(needs)}; give more, or a smaller --input"
