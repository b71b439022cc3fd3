"""How other tools would count the same network: named projections of our work onto their conventions.

Each is a table from canonical kind to that tool's formula, read from its source. A kind that isn't in the table counts
nothing there; that is the point of the comparison. What a formula can't say (an unknown operator) is None, never 0.

paper    MACs of convolutions, linear layers, products, attention, recurrent layers: this project's own ``macs``
fvcore   fvcore 0.1.5: one per multiply-accumulate, plus its weights for norms, average pooling and resizing
torch    torch.utils.flop_counter: two per multiply-accumulate; grouped weight gradients as if dense
thop     thop 0.1.1: MACs of module calls, 4 per normalised element, average pooling, softmax, resizing
ptflops  ptflops 0.7 (PyTorch back end): MACs with biases, 2 per normalised element, activations, pooling

thop and ptflops hook modules: an operator called as a function is theirs only if they patch it. Here each
operator counts as if it ran in its own module, so for such models the projection is an upper bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cnnprof.analyses.complexity import Complexity, complexity
from cnnprof.errors import UsageError
from cnnprof.ir import Graph
from cnnprof.ops.bind import bind
from cnnprof.ops.spec import Call, UncountableError

__all__ = ["CONVENTIONS", "Convention", "Projection", "ProjectionRow", "convention", "project"]

Rule = Callable[[Call, int], int]  # (call, its MACs by our count) -> what the tool says


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """One tool's way of counting. ``unit`` is what it calls its result; ``rules`` are by canonical kind."""

    name: str
    unit: str
    title: str
    source: str
    rules: Mapping[str, Rule]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionRow:
    """One op under a convention; ``value`` is None where it can't be said."""

    name: str
    scope: str
    kind: str
    value: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A graph under a convention, op by op in execution order."""

    convention: Convention
    rows: tuple[ProjectionRow, ...]

    @property
    def total(self) -> int:
        """The sum of what can be said; a lower bound if not ``complete``."""
        return sum(row.value or 0 for row in self.rows)

    @property
    def complete(self) -> bool:
        return all(row.value is not None for row in self.rows)

    def by_kind(self) -> Mapping[str, int]:
        """What each canonical kind adds, largest first; kinds that add nothing are left out."""
        sums: dict[str, int] = {}
        for row in self.rows:
            sums[row.kind] = sums.get(row.kind, 0) + (row.value or 0)
        return {kind: value for kind, value in sorted(sums.items(), key=lambda item: -item[1]) if value}

    def to_dict(self) -> dict[str, Any]:
        return {
            "convention": self.convention.name,
            "unit": self.convention.unit,
            "source": self.convention.source,
            "total": self.total,
            "complete": self.complete,
            "by_kind": dict(self.by_kind()),
            "layers": [
                {"name": row.name, "kind": row.kind, "scope": row.scope}
                | ({} if row.value is None else {"value": row.value})
                for row in self.rows
            ],
        }


def convention(name: str) -> Convention:
    """Raises :class:`UsageError` for a name that isn't known."""
    try:
        return CONVENTIONS[name]
    except KeyError:
        raise UsageError(f"--convention {name}: unknown", f"one of {', '.join(CONVENTIONS)}") from None


def project(graph: Graph, name: str, costs: Complexity | None = None) -> Projection:
    """``graph`` as the convention ``name`` counts it. ``costs`` saves counting it again."""
    chosen = convention(name)
    costs = complexity(graph) if costs is None else costs
    rows = tuple(
        ProjectionRow(
            name=op.name,
            scope=op.scope,
            kind=op.kind,
            value=_value(chosen.rules.get(op.kind), bind(graph, op), row.work, op.execution.repeat),
        )
        for op, row in zip(graph.ops, costs.rows, strict=True)
    )
    return Projection(convention=chosen, rows=rows)


def _value(rule: Rule | None, call: Call, work: object, repeat: int) -> int | None:
    macs = getattr(work, "mac", None)
    if macs is None:
        return None
    if rule is None:
        return 0
    try:
        # The work is for all repeats already; a rule is for one.
        return rule(call, macs // repeat) * repeat
    except UncountableError:
        return None


# -- rules -----------------------------------------------------------------------------------------------


def _macs(_call: Call, macs: int) -> int:
    return macs


def _twice(_call: Call, macs: int) -> int:
    return 2 * macs


def _inputs(scale: int) -> Rule:
    return lambda call, _macs: scale * call.elements(0)


def _outputs(scale: int) -> Rule:
    return lambda call, _macs: scale * call.out_elements()


def _norm(affine: int, plain: int) -> Rule:
    return lambda call, _macs: call.elements(0) * (affine if call.has(1) else plain)


def _left_operand(call: Call, _macs: int) -> int:
    """Elements of the left operand x columns of the right: misses a batch that only the right one has.
    The fused-bias spellings (baddbmm) have no formula there."""
    if call.op_type.startswith("aten:baddbmm"):
        return 0
    columns: int = call.shape(1)[-1]
    return call.elements(0) * columns


def _fvcore_batch_norm(call: Call, macs: int) -> int:
    trains = call.get("training", False)
    return (_norm(5, 4) if trains else _norm(2, 1))(call, macs)


def _fvcore_einsum(call: Call, macs: int) -> int:
    """Two equations exactly; the others from the report of ``numpy.einsum_path``, which prints the cost of a sum of
    products (two operations each) with four digits."""
    equation = f"{','.join(call.attr('operands'))}->{call.attr('output')}"
    letters: dict[str, str] = {}
    for letter in filter(str.isalpha, equation):
        letters.setdefault(letter, chr(ord("a") + len(letters)))
    plain = "".join(letters.get(letter, letter) for letter in equation)
    if plain in ("abc,abd->acd", "abc,adc->adb"):
        return macs
    return int(float(f"{2 * macs:.3e}") // 2)


def _fvcore_resize(call: Call, _macs: int) -> int:
    scales = {"aten:upsample_nearest2d": 1, "aten:upsample_bilinear2d": 4}
    return scales.get(call.op_type.partition(".")[0], 0) * call.out_elements()


def _torch_matmul(call: Call, macs: int) -> int:
    """Products of matrices only: a matrix times a vector (``mv``, and what torch turns into it) has no formula."""
    left, right = len(call.shape(0)), len(call.shape(1))
    counted = right == 2 if left == 1 else right >= 2
    return 2 * macs if counted else 0


def _torch_attention(call: Call, macs: int) -> int:
    return 0 if "_for_cpu" in call.op_type else 2 * macs


def _torch_conv_backward(call: Call, macs: int) -> int:
    """The weight gradient as a dense convolution whatever the groups; the input gradient is right."""
    asked = call.attr("output_mask")
    passes = bool(asked[0]) + bool(asked[1])
    if not passes:
        return 0
    return 2 * (macs // passes) * (bool(asked[0]) + bool(asked[1]) * int(call.attr("groups")))


def _output_side(call: Call, _macs: int) -> int:
    """A transposed convolution counted like a plain one over its outputs."""
    groups = int(call.attr("groups"))
    weight = call.shape(1)  # (C_in, C_out/g, *K)
    return call.out_elements() * (weight[0] // groups) * math.prod(weight[2:])


def _with_bias(rule: Rule) -> Rule:
    return lambda call, macs: rule(call, macs) + (call.out_elements() if call.has(2) else 0)


def _ptflops_linear(call: Call, macs: int) -> int:
    """The bias once, whatever the number of rows."""
    return macs + (call.out_shape()[-1] if call.has(2) else 0)


def _thop_adaptive(call: Call, _macs: int) -> int:
    """(elements of one window + 1) an output; windows may be fractions of elements there."""
    out = call.out_elements()
    ratio = math.prod(call.shape(0)[2:]) / math.prod(call.out_shape()[2:])
    return int((ratio + 1) * out)


def _thop_softmax(call: Call, _macs: int) -> int:
    """2n exponentials and divisions and n − 1 additions a row."""
    axis = call.get("axis", -1)
    features: int = call.shape(0)[axis]
    rows = call.elements(0) // features
    return rows * (3 * features - 1)


def _thop_resize(call: Call, _macs: int) -> int:
    modes = {"nearest": 1, "linear": {3: 5, 4: 11}.get(len(call.shape(0)), 0), "cubic": 259}
    return modes.get(call.get("mode", "nearest"), 0) * call.out_elements()


# -- tables ----------------------------------------------------------------------------------------------

_CONVOLUTIONS = ("conv", "conv_transpose")
_POOLS = ("max_pool", "average_pool", "adaptive_average_pool", "adaptive_max_pool", "global_average_pool")
_NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm")
_PATCHED = ("relu", "prelu", "elu", "leaky_relu", "gelu", "gelu_tanh", "silu", "softmax")

_FVCORE: dict[str, Rule] = {
    **dict.fromkeys((*_CONVOLUTIONS, "linear"), _macs),
    "einsum": _fvcore_einsum,
    "matmul": _left_operand,
    "batch_norm": _fvcore_batch_norm,
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm"), _norm(5, 4)),
    "resize": _fvcore_resize,
    "adaptive_average_pool": _inputs(1),
    "grid_sample": _outputs(4),
}
_TORCH: dict[str, Rule] = {
    **dict.fromkeys((*_CONVOLUTIONS, "linear", "einsum", "lstm", "gru", "rnn"), _twice),
    "matmul": _torch_matmul,
    "attention": _torch_attention,
    "attention_backward": _torch_attention,
    "conv_backward": _torch_conv_backward,
}
_THOP: dict[str, Rule] = {
    "conv": _macs,
    "conv_transpose": _output_side,
    "linear": _macs,
    **dict.fromkeys(_NORMS, _norm(4, 2)),
    "average_pool": _outputs(1),
    "adaptive_average_pool": _thop_adaptive,
    "prelu": _inputs(1),
    "softmax": _thop_softmax,
    "resize": _thop_resize,
}
_PTFLOPS: dict[str, Rule] = {
    "conv": _with_bias(_macs),
    "conv_transpose": _with_bias(_output_side),
    "linear": _ptflops_linear,
    "matmul": _left_operand,
    **dict.fromkeys(_NORMS, _norm(2, 1)),
    **dict.fromkeys(_POOLS, _inputs(1)),
    **dict.fromkeys(_PATCHED, _outputs(1)),
    "clip": _outputs(1),  # ReLU6
    "resize": _outputs(1),
}


class _Everything(dict[str, Rule]):
    """Our own count: every kind by its MACs."""

    def get(self, key: str, default: object = None) -> Rule:
        return _macs


CONVENTIONS: Mapping[str, Convention] = {
    entry.name: entry
    for entry in (
        Convention(
            name="paper",
            unit="MACs",
            title="multiply-accumulates, as papers give them",
            source="this project's counting page",
            rules=_Everything(),
        ),
        Convention(
            name="fvcore",
            unit="flops (one per multiply-accumulate)",
            title="fvcore.nn.FlopCountAnalysis",
            source="fvcore 0.1.5.post20221221, fvcore/nn/jit_handles.py",
            rules=_FVCORE,
        ),
        Convention(
            name="thop",
            unit="MACs",
            title="thop.profile",
            source="thop 0.1.1, thop/vision/basic_hooks.py and calc_func.py",
            rules=_THOP,
        ),
        Convention(
            name="ptflops",
            unit="MACs",
            title="ptflops.get_model_complexity_info",
            source="ptflops 0.7, ptflops/pytorch_ops.py",
            rules=_PTFLOPS,
        ),
        Convention(
            name="torch",
            unit="FLOPs (two per multiply-accumulate)",
            title="torch.utils.flop_counter.FlopCounterMode",
            source="torch/utils/flop_counter.py",
            rules=_TORCH,
        ),
    )
}
