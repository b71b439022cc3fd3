"""Sequences and optionals: containers of tensors. Nothing is computed.

Putting a tensor into a sequence and taking it out shares its memory; splitting and joining copy it. What a
position reads isn't followed through a container: the window is data-dependent.
"""

from __future__ import annotations

from cnnprof.ops.naming import moving, onnx
from cnnprof.ops.relations import no_data, unpredictable
from cnnprof.ops.spec import Call, Memory, OpSpec

__all__ = ["SPECS"]


def _scalar(_call: Call) -> tuple[tuple[int, ...] | None, ...]:
    return ((),)


# kind, ONNX name, memory
_ROWS = (
    ("sequence_at", "SequenceAt", Memory.VIEW),
    ("sequence_construct", "SequenceConstruct", Memory.VIEW),
    ("sequence_erase", "SequenceErase", Memory.VIEW),
    ("sequence_insert", "SequenceInsert", Memory.VIEW),
    ("optional", "Optional", Memory.VIEW),
    ("optional_get_element", "OptionalGetElement", Memory.VIEW),
    ("split_to_sequence", "SplitToSequence", Memory.FRESH),
    ("concat_from_sequence", "ConcatFromSequence", Memory.FRESH),
)

SPECS: tuple[OpSpec, ...] = (
    *(moving(kind, unpredictable, onnx(name), memory=memory) for kind, name, memory in _ROWS),
    moving("sequence_empty", no_data, onnx("SequenceEmpty"), memory=Memory.METADATA),
    moving("sequence_length", no_data, onnx("SequenceLength"), memory=Memory.METADATA, shapes=_scalar),
    moving(
        "optional_has_element",
        no_data,
        onnx("OptionalHasElement"),
        memory=Memory.METADATA,
        shapes=_scalar,
    ),
)
