"""``cnnprof rf``: what a layer, or one unit of it, sees of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cnnprof.cli.options import model_argument, model_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cnnprof.analyses.receptive_field import UnitField
    from cnnprof.analyses.receptive_field.propagate import Propagation
    from cnnprof.ir import Graph

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof rf model.onnx
  cnnprof rf torchvision:resnet18 --layer layer3/0/conv1
  cnnprof rf torchvision:resnet18 --layer layer2 --position 0,0
  cnnprof rf torchvision:mobilenet_v2 --input 1x3x96x64 --verify
  cnnprof rf torchvision:vgg16 --layer features/28 --effective
  cnnprof rf model.onnx --format json
"""
_AT_A_GLANCE = 40
_WINDOWED = ("conv", "pool", "resize", "linear", "matmul", "gemm", "attention", "lstm", "gru", "rnn", "concat", "add")


@click.command("rf", epilog=_EPILOG, short_help="What each layer sees of the input.")
@model_argument
@model_options
@click.option("-l", "--layer", metavar="NAME", help="A layer, or a module's path (its last layer).")
@click.option("-p", "--position", metavar="Y,X", help="One unit of the layer, e.g. 0,0 (default: the middle).")
@click.option("--verify", is_flag=True, help="Run the model and compare the reached positions one by one.")
@click.option("--effective", is_flag=True, help="Measure the effective field at initialisation (PyTorch).")
@click.option("--samples", type=click.IntRange(min=1), default=16, show_default=True, help="Inputs for --effective.")
@click.option("--all", "every", is_flag=True, help="List every layer.")
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Write there instead of standard output.")
def command(
    *,
    model: str,
    layer: str | None,
    position: str | None,
    verify: bool,
    effective: bool,
    samples: int,
    every: bool,
    form: str,
    output: str | None,
    **options: Any,
) -> None:
    """What the layers of MODEL see of its input: the receptive field's size, stride, padding and centre per axis.

    With --layer or --position, also the exact set of positions that reach one unit, as a picture (the last layer
    with spatial axes where none is named). --verify checks it on the
    running model: a gradient through the PyTorch module, or the ONNX input perturbed under onnxruntime; the
    exit code is 1 if a position differs.
    """
    from cnnprof.analyses.receptive_field.fields import fields_of
    from cnnprof.analyses.receptive_field.propagate import propagate
    from cnnprof.analyses.receptive_field.unit import unit_field
    from cnnprof.cli.options import graph_of
    from cnnprof.cli.output import deliver
    from cnnprof.errors import UsageError

    if options.get("batch") not in (None, 1) and (verify or effective):
        raise UsageError("--batch: --verify and --effective run one sample", "leave it out")
    graph = graph_of(model, options)
    spread = propagate(graph)
    fields = fields_of(graph, spread)
    place = None if position is None else _position(position)
    unit = None
    if layer is not None or position is not None or effective:
        unit = unit_field(graph, layer, place, propagation=spread)
    document: dict[str, Any] = {"model": graph.source.name}
    if unit is None:
        document |= fields.to_dict() | {"layers": fields.layer_sections()}
    else:
        document |= {"layer": [row.to_dict() for row in fields.by_layer.get(unit.layer, ())], "unit": unit.to_dict()}
    checks, strength = [], None
    if verify:
        checks = _verified(model, options, graph, spread, unit, place)
        document["verified"] = [check.to_dict() for check in checks]
    if effective:
        assert unit is not None
        strength = _effective(model, options, graph, spread, unit, samples)
        document["effective"] = {
            "input": unit.inputs[0].input if unit.inputs else None,
            "extent": list(strength.extent),
            "count": strength.count,
            "size": strength.size,
            "samples": strength.samples,
            "spread": list(strength.spread),
        }
    if form == "json":
        import json

        deliver(json.dumps(document, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n", output)
    else:
        deliver("\n".join(_text(fields, unit, checks, strength, verify=verify, every=every)) + "\n", output)
    if any(not check.agrees for check in checks):
        raise click.exceptions.Exit(1)


def _position(text: str) -> tuple[int, ...]:
    from cnnprof.errors import UsageError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--position {text!r}: not indices", "one per spatial axis, e.g. 12,7") from None


def _text(
    fields: Any, unit: UnitField | None, checks: list[Any], strength: Any, *, verify: bool, every: bool
) -> list[str]:
    from cnnprof.render.receptive_field_text import (
        check_lines,
        effective_lines,
        layer_lines,
        layer_table,
        unit_lines,
    )

    lines: list[str] = []
    if unit is None:
        rows = fields.rows
        if not every:
            rows = [row for row in rows if any(word in row.kind for word in _WINDOWED)]
        hidden = max(0, len(rows) - _AT_A_GLANCE) if not every else 0
        lines += layer_table(fields, rows[hidden:])
        if hidden:
            lines.insert(1, f"… {hidden} earlier layers; --all lists every one")
        lines += [f"holes open at: {', '.join(fields.gridding)}"] if fields.gridding else []
    else:
        for row in fields.by_layer.get(unit.layer, ()):
            lines += [*layer_lines(row), ""]
        lines += unit_lines(unit)
    if strength is not None and unit is not None:
        lines += ["", *effective_lines(unit, strength.spread, strength.count, strength.size, strength.samples)]
    if verify:
        lines += ["", *check_lines(checks)]
    return lines


def _verified(
    model: str, options: Mapping[str, Any], graph: Graph, spread: Propagation, unit: UnitField | None, place: Any
) -> list[Any]:
    layer = unit.layer if unit is not None else None
    if graph.source.format == "onnx":
        from cnnprof.measure.rf_probe_onnx import verify_onnx

        return list(verify_onnx(graph, spread, model, layer=layer, position=place))
    from cnnprof.measure.rf_verify_torch import verify_module

    module, inputs = _module(model, options)
    return list(verify_module(graph, spread, module, inputs, layer=layer, position=place))


def _effective(
    model: str, options: Mapping[str, Any], graph: Graph, spread: Propagation, unit: UnitField, samples: int
) -> Any:
    from cnnprof.errors import UsageError

    if graph.source.format == "onnx":
        raise UsageError("--effective: an ONNX file can't be differentiated", "give the PyTorch model")
    from cnnprof.measure.rf_verify_torch import effective_of

    module, inputs = _module(model, options)
    return effective_of(graph, spread, module, inputs, unit, samples=samples)


def _module(model: str, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """The running module behind a reference, with real weights, and the inputs that its graph was traced at."""
    from cnnprof.cli.options import parse_kwargs
    from cnnprof.frontends.inputs import parse_inputs

    specs = parse_inputs(options.get("inputs") or ())
    if model.startswith("zoo:"):
        from cnnprof.zoo.catalogue import entry
        from cnnprof.zoo.load import build, model_inputs

        name = model.removeprefix("zoo:")
        module, inputs = build(name), specs or model_inputs(entry(name))
    else:
        from cnnprof.frontends.torch.references import load_module

        loaded = load_module(model, parse_kwargs(options.get("kwargs") or ()))
        module = loaded.rebuild() if loaded.rebuild is not None else loaded.module
        inputs = specs or loaded.inputs
    return module.eval(), inputs
