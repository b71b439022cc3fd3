"""The operator table: an explicit list of families; nothing registers itself on import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from types import MappingProxyType

from cnnprof.ops import (
    activation,
    attention,
    attention_fused,
    attention_other,
    backward,
    batch_norm,
    bilinear,
    control,
    conv,
    conv_backward,
    conv_deform,
    conv_variants,
    einsum,
    embedding,
    experts,
    generate,
    index,
    join,
    layout,
    linear,
    linear_quantized,
    loss,
    ml,
    norm,
    norm_backward,
    norm_other,
    optimizer,
    pad,
    pointwise,
    pool,
    pool_backward,
    pool_global,
    quantize,
    quantize_pointwise,
    rearrange,
    recurrent,
    recurrent_cells,
    reduce,
    resize,
    sequence,
    shared_memory,
    signal,
    softmax,
    sort,
    text,
    unfold,
    vision,
)
from cnnprof.ops.rules import free
from cnnprof.ops.spec import RULE_FAILURES, Call, OpSpec, Spelling

__all__ = ["FAMILIES", "lookup", "resolve", "spec", "specs", "spellings"]

FAMILIES = (
    control,
    conv,
    conv_variants,
    conv_deform,
    conv_backward,
    pointwise,
    activation,
    softmax,
    layout,
    join,
    pad,
    rearrange,
    unfold,
    reduce,
    linear,
    linear_quantized,
    experts,
    einsum,
    bilinear,
    pool,
    pool_global,
    pool_backward,
    index,
    sort,
    resize,
    shared_memory,
    batch_norm,
    norm,
    norm_other,
    norm_backward,
    generate,
    sequence,
    text,
    ml,
    signal,
    vision,
    loss,
    backward,
    optimizer,
    attention,
    attention_fused,
    attention_other,
    recurrent,
    recurrent_cells,
    embedding,
    quantize,
    quantize_pointwise,
)


def _index(families: Iterable[object]) -> tuple[dict[str, OpSpec], dict[str, list[tuple[Spelling, OpSpec]]]]:
    kinds: dict[str, OpSpec] = {}
    names: dict[str, list[tuple[Spelling, OpSpec]]] = {}
    for family in families:
        for entry in family.SPECS:  # type: ignore[attr-defined]
            if entry.kind in kinds:
                raise ValueError(f"operator kind {entry.kind!r} stands in two families")
            kinds[entry.kind] = entry
            for spelling in entry.spellings:
                rows = names.setdefault(spelling.name, [])
                if rows and (spelling.when is None or rows[-1][0].when is None):
                    raise ValueError(f"spelling {spelling.name!r} stands twice without guards")
                rows.append((spelling, entry))
    return kinds, names


@cache
def _tables() -> tuple[Mapping[str, OpSpec], Mapping[str, tuple[tuple[Spelling, OpSpec], ...]]]:
    kinds, names = _index(FAMILIES)
    return MappingProxyType(kinds), MappingProxyType({k: tuple(v) for k, v in names.items()})


def specs() -> Mapping[str, OpSpec]:
    """Every canonical kind."""
    return _tables()[0]


def spellings() -> Mapping[str, tuple[tuple[Spelling, OpSpec], ...]]:
    """Every foreign name, with the kinds it can mean in the order they are tried."""
    return _tables()[1]


@cache
def spec(kind: str) -> OpSpec | None:
    """The spec of a canonical kind; None for the unknown one."""
    return specs().get(kind)


def lookup(name: str) -> bool:
    """True if the foreign name ("onnx:Conv", "aten:add.Tensor") is known in any meaning."""
    return bool(_rows(name))


@lru_cache(maxsize=4096)
def _rows(name: str) -> tuple[tuple[Spelling, OpSpec], ...]:
    table = spellings()
    rows = table.get(name)
    if rows is None and name.startswith(("aten:", "torchvision:")) and "." in name:
        rows = table.get(name.partition(".")[0])
    return rows or ()


def resolve(name: str, call: Call) -> tuple[OpSpec, Call] | None:
    """The kind that a foreign call means, and the call in canonical form; None if it is unknown.

    Raises :class:`~cnnprof.ops.spec.UncountableError` if the kind is known but this call can't be normalised
    (a shape isn't known). What is free by definition is free all the same: it then comes without attributes.
    """
    for spelling, entry in _rows(name):
        if spelling.when is None or spelling.when(call):
            return entry, _canonical(spelling, entry, call)
    return None


def _canonical(spelling: Spelling, entry: OpSpec, call: Call) -> Call:
    if spelling.normalise is None:
        return call
    try:
        return spelling.normalise(call)
    except RULE_FAILURES:
        if entry.work is not free:
            raise
        return call.with_attributes({})
