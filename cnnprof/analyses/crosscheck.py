"""Our count beside another tool's, module by module, with a reason for every difference.

A difference is *explained* when the other tool's own formulas (:mod:`cnnprof.analyses.conventions`), applied to
our graph, give its number exactly. The explained differences of a cross-check sum to the whole gap; if they
don't, what is left is listed as unexplained: then one of the two tools has a bug, or the formulas here are out of date.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cnnprof.analyses.complexity import complexity
from cnnprof.analyses.conventions import convention, project
from cnnprof.ir import Graph, Op

__all__ = ["Crosscheck", "Difference", "ForeignCount", "crosscheck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignCount:
    """What the other tool says of one module itself (its children apart) and one of its operator names."""

    scope: str
    operator: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One module and kind of operator where the counts differ. ``ours`` is in the tool's unit."""

    scope: str
    operator: str
    ours: int
    theirs: int
    expected: int
    reason: str

    @property
    def gap(self) -> int:
        """Theirs less ours."""
        return self.theirs - self.ours

    @property
    def explained(self) -> bool:
        return self.theirs == self.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Crosscheck:
    """Two counts of one network. ``unit_per_mac`` is how many of the tool's units one MAC of ours is."""

    tool: str
    unit: str
    unit_per_mac: int
    our_macs: int
    theirs: int
    differences: tuple[Difference, ...]

    @property
    def ours(self) -> int:
        """Our count in the tool's unit."""
        return self.our_macs * self.unit_per_mac

    @property
    def gap(self) -> int:
        return self.theirs - self.ours

    @property
    def explained(self) -> int:
        """Sum of the explained differences."""
        return sum(d.gap for d in self.differences if d.explained)

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        return tuple(d for d in self.differences if not d.explained)

    @property
    def closes(self) -> bool:
        """True if every difference is explained and together they are the whole gap."""
        return not self.unexplained and self.explained == self.gap

    def by_reason(self) -> Mapping[str, int]:
        """The gap, summed by reason, largest first."""
        sums: dict[str, int] = defaultdict(int)
        for difference in self.differences:
            sums[difference.reason] += difference.gap
        return dict(sorted(sums.items(), key=lambda row: -abs(row[1])))

    def to_dict(self) -> dict[str, Any]:
        return {
            "tool": self.tool,
            "unit": self.unit,
            "ours": self.ours,
            "theirs": self.theirs,
            "gap": self.gap,
            "explained": self.explained,
            "closes": self.closes,
            "by_reason": dict(self.by_reason()),
            "differences": [
                {
                    "scope": d.scope,
                    "operator": d.operator,
                    "ours": d.ours,
                    "theirs": d.theirs,
                    "explained": d.explained,
                    "reason": d.reason,
                }
                for d in self.differences
            ],
        }


# Canonical kind, or the tool's operator name -> the family that both are compared in.
_FAMILY = {
    **dict.fromkeys(("conv", "conv_transpose", "convolution", "_convolution"), "convolution"),
    **dict.fromkeys(("conv_backward", "convolution_backward"), "convolution gradient"),
    **dict.fromkeys(("linear", "matmul", "einsum", "addmm", "mm", "bmm", "baddbmm"), "product"),
    **dict.fromkeys(("lstm", "gru", "rnn", "bilinear", "linear_backward"), "product"),
    **dict.fromkeys(("batch_norm", "layer_norm", "group_norm", "instance_norm"), "normalisation"),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_average_pool"), "average pooling"),
    **dict.fromkeys(("upsample_nearest2d", "upsample_bilinear2d", "resize"), "resizing"),
    **dict.fromkeys(("grid_sampler", "grid_sample"), "grid sampling"),
}

_REASONS: Mapping[tuple[str, str], str] = {
    (
        "fvcore",
        "normalisation",
    ): "fvcore gives norms operations (2 an element folded, 5 otherwise) and adds them to its MACs",
    ("fvcore", "average pooling"): "fvcore adds one operation an input element of adaptive average pooling",
    ("fvcore", "resizing"): "fvcore adds 1 (nearest) or 4 (bilinear) operations an output element",
    ("fvcore", "grid sampling"): "fvcore adds 4 operations an output element",
    (
        "fvcore",
        "product",
    ): "fvcore counts products by their left operand, einsum to four digits, baddbmm not",
    ("torch", "convolution gradient"): "torch counts a grouped convolution's weight gradient as a dense one",
    ("torch", "product"): "torch has no formula for a matrix times a vector",
}


def crosscheck(graph: Graph, tool: str, foreign: Iterable[ForeignCount], *, by_module: bool = True) -> Crosscheck:
    """Compare ``graph`` with what ``tool`` ("fvcore" or "torch") counted on the same model.

    ``by_module`` False compares families of operators over the whole network (where the tool can't tell
    modules apart, as in a backward pass).
    """
    chosen = convention(tool)
    per_mac = 2 if tool == "torch" else 1
    costs = complexity(graph)
    ours: dict[tuple[str, str], int] = defaultdict(int)
    expected: dict[tuple[str, str], int] = defaultdict(int)
    theirs: dict[tuple[str, str], int] = defaultdict(int)
    for op, row, projected in zip(graph.ops, costs.rows, project(graph, tool, costs).rows, strict=True):
        key = (op.scope if by_module else "", _family(tool, op))
        ours[key] += row.macs * per_mac
        expected[key] += projected.value or 0
    for count in foreign:
        name = count.operator.rpartition("::")[2].partition(".")[0]
        theirs[count.scope if by_module else "", _FAMILY.get(name, name)] += count.value
    differences = tuple(
        Difference(
            scope=key[0],
            operator=key[1],
            ours=ours[key],
            theirs=theirs[key],
            expected=expected[key],
            reason=_reason(tool, key[1], theirs[key] == expected[key], theirs[key]),
        )
        for key in dict.fromkeys((*ours, *theirs))
        if ours[key] != theirs[key]
    )
    return Crosscheck(
        tool=tool,
        unit=chosen.unit,
        unit_per_mac=per_mac,
        our_macs=costs.macs,
        theirs=sum(theirs.values()),
        differences=differences,
    )


def _family(tool: str, op: Op) -> str:
    if tool == "torch" and op.kind == "attention" and "_for_cpu" not in op.op_type:
        return "product"  # on meta tensors torch takes attention apart, into products
    return _FAMILY.get(op.kind, op.kind)


def _reason(tool: str, family: str, explained: bool, theirs: int) -> str:
    if not explained:
        return f"not explained by {tool}'s own formulas"
    if not theirs:
        return f"{tool} has no formula for {family}"
    return _REASONS.get((tool, family), f"{tool} weighs {family} otherwise")
