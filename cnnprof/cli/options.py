"""Options that several commands share, and the model they describe."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cnnprof.errors import UsageError

if TYPE_CHECKING:
    from cnnprof.ir import Graph
    from cnnprof.profile import Profile

__all__ = ["graph_of", "model_argument", "model_options", "parse_kwargs", "profile_of_reference"]

F = TypeVar("F", bound=Callable[..., Any])

model_argument = click.argument("model", metavar="MODEL", type=click.Path(exists=False, allow_dash=True))


def model_options(function: F) -> F:
    """``--input --batch --kwargs --training --optimizer``: collected into ``options`` by name."""
    decorators = (
        click.option(
            "-i", "--input", "inputs", multiple=True, metavar="[NAME=][DTYPE:]SHAPE",
            help="An input's shape: 1x3x224x224, image=1x3x480x640, ids=int64:1x128. Repeat for several.",
        ),
        click.option("-b", "--batch", type=click.IntRange(min=1), help="Set the batch dimension."),
        click.option(
            "--kwargs", "kwargs", multiple=True, metavar="KEY=VALUE",
            help="Argument of a PyTorch model's factory. Repeat for several.",
        ),
        click.option("--training", is_flag=True, help="Forward and backward (PyTorch models)."),
        click.option(
            "--optimizer", type=click.Choice(["sgd", "momentum", "adam", "adamw"]),
            help="With --training: count this optimizer's state.",
        ),
    )  # fmt: skip
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def parse_kwargs(pairs: tuple[str, ...]) -> dict[str, Any]:
    """``("width=0.5", "name=x")`` -> ``{"width": 0.5, "name": "x"}``: literals where they are, else text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--kwargs {pair!r}: not KEY=VALUE", "e.g. --kwargs num_classes=10")
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found[key] = text
    return found


def graph_of(reference: str, options: Mapping[str, Any]) -> Graph:
    """The graph of a reference with the options that :func:`model_options` added."""
    from cnnprof.api import load

    return load(
        reference,
        inputs=options.get("inputs") or (),
        batch=options.get("batch"),
        kwargs=parse_kwargs(options.get("kwargs") or ()),
        training=bool(options.get("training")),
        optimizer=options.get("optimizer"),
    )


def profile_of_reference(
    reference: str,
    options: Mapping[str, Any],
    *,
    sections: tuple[str, ...] | None = None,
    strict: bool = False,
) -> Profile:
    """Analyse a reference, or read it if it is a saved profile (``.json``)."""
    if reference.lower().endswith(".json"):
        from cnnprof.profile import Profile

        return Profile.from_json(read_bytes(reference), origin=reference)
    from cnnprof.api import ALL_SECTIONS, profile_graph

    graph = graph_of(reference, options)
    return profile_graph(graph, sections=ALL_SECTIONS if sections is None else sections, strict=strict)


def read_bytes(path: str) -> bytes:
    """A user's file, with a one-line error if it can't be read."""
    from pathlib import Path

    from cnnprof.errors import ModelError

    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}", "check the path") from None
