"""The seams of control flow: where values enter and leave a branch, a loop body, a scan.

They cost nothing; what stands between them carries its own repetitions and alternatives (``Op.execution``).
``if_join``      inputs: condition, the results of branch 0, those of branch 1; outputs: one of the two sets.
``*_enter``      inputs: the operator's own; outputs: the body's inputs.
``*_exit``       inputs: the body's results (``skip`` first ones steer the loop); outputs: final values, then
                 what the iterations stacked. ``carried`` counts the former, ``trips`` the iterations if known.
"""

from __future__ import annotations

from cnnprof.ops.rules import broadcast_axes, free, no_cost_formula
from cnnprof.ops.spec import Call, OpSpec, Spelling
from cnnprof.ops.window import DataDependent, Relation

__all__ = ["SPECS"]


def _join_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    """Either branch's result, where the output stands; the condition isn't read as data."""
    width = (len(call.inputs) - 1) // 2
    relations: list[Relation | None] = [None] * len(call.inputs)
    for slot in (1 + output, 1 + width + output):
        tensor = call.inputs[slot]
        if tensor is None or tensor.is_weight:
            continue
        result = call.outputs[output]
        same = result is not None and result.shape is not None and tensor.shape == result.shape
        relations[slot] = broadcast_axes(call.shape(slot), call.out_shape(output)) if same else DataDependent()
    return tuple(relations)


def _loop_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    """A carried value may reach anything after enough iterations: no fixed window says what is seen."""
    return tuple(None if t is None or t.is_weight else DataDependent() for t in call.inputs)


def _seam(kind: str, foreign: str, part: str) -> OpSpec:
    return OpSpec(
        kind=kind,
        work=free,
        formula=no_cost_formula,
        window=_join_window if part == "join" else _loop_window,
        arithmetic=False,
        spellings=(Spelling(f"onnx:{foreign}", when=lambda call: call.get("part") == part),),
    )


SPECS = (
    _seam("if_join", "If", "join"),
    *(
        _seam(f"{kind}_{part}", foreign, part)
        for kind, foreign in (("loop", "Loop"), ("scan", "Scan"), ("sequence_map", "SequenceMap"))
        for part in ("enter", "exit")
    ),
)
