"""Einstein summation over any number of operands.

Canonical attributes: ``operands`` (the letters of each operand's axes, ellipses spelled out in letters of
their own) and ``output``. Two operands: MACs = the product of the sizes of all distinct indices. More:
contracted pairwise from left to right, the order that torch (without opt_einsum) and onnx's runtime
execute; an index is summed as soon as neither the output nor a later operand holds it. One operand: only
additions (its elements − the outputs); a diagonal costs nothing. Pairs that sum nothing are
multiplications, not MACs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.rules import product
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError
from cnnprof.ops.window import All, Axes, AxisMap, Fixed, Relation, Same
from cnnprof.ops.work import Work

__all__ = ["SPECS", "parse_equation"]


def parse_equation(equation: str, ranks: Sequence[int]) -> tuple[tuple[str, ...], str]:
    """("ij", "jk"), "ik" of "ij,jk->ik". Ellipsis axes become the letters Α, Β, ... aligned at the right.

    Raises UncountableError where the equation doesn't fit the ranks.
    """
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise UncountableError(f"einsum {equation!r}: expected {len(terms)} operands, got {len(ranks)}")
    hidden = [
        rank - len(term.replace("...", "")) if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)
    ]
    most = max(hidden, default=0)
    dots = "".join(chr(0x391 + i) for i in range(most))
    operands = tuple(
        term.replace("...", dots[most - count :] if count > 0 else "")
        for term, count in zip(terms, hidden, strict=True)
    )
    for term, rank in zip(operands, ranks, strict=True):
        if len(term) != rank:
            raise UncountableError(f"einsum {equation!r}: expected {len(term)} axes, got {rank}")
    if arrow:
        return operands, right.replace("...", dots)
    letters = "".join(operands)
    once = sorted(letter for letter in set(letters) if letters.count(letter) == 1 and letter not in dots)
    return operands, dots + "".join(once)


def _sizes(call: Call) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for index, term in enumerate(call.attr("operands")):
        for letter, size in zip(term, call.shape(index), strict=True):
            known = sizes.get(letter, 1)
            if known not in (1, size) and size != 1:
                raise UncountableError(f"einsum: index {letter!r} has sizes {known} and {size}")
            sizes[letter] = max(known, size) if size != 0 and known != 0 else 0
    return sizes


def _steps(call: Call) -> list[tuple[list[str], bool]]:
    """For each pairwise contraction: the distinct indices it runs over, and whether it sums any."""
    operands, output = call.attr("operands"), call.attr("output")
    current = set(operands[0])
    steps = []
    for position, term in enumerate(operands[1:], start=1):
        later = set(output).union(*operands[position + 1 :])
        together = current | set(term)
        kept = together & later
        steps.append((sorted(together), kept != together))
        current = kept
    return steps


def _work(call: Call) -> Work:
    sizes = _sizes(call)
    operands, output = call.attr("operands"), call.attr("output")
    if len(operands) == 1:
        inside = math.prod(sizes[letter] for letter in set(operands[0]))
        return Work(add=inside - math.prod(sizes[letter] for letter in output))
    work = Work()
    for letters, sums in _steps(call):
        count = math.prod(sizes[letter] for letter in letters)
        work += Work(mac=count) if sums else Work(mul=count)
    return work


def _formula(call: Call) -> Formula:
    sizes = _sizes(call)
    operands = call.attr("operands")
    steps = [letters for letters, _ in _steps(call)] or [sorted(set(operands[0]))]
    if len(steps) == 1:
        return product("·".join(steps[0]), *(sizes[letter] for letter in steps[0]))
    symbols = " + ".join("·".join(letters) for letters in steps)
    numbers = " + ".join("·".join(str(sizes[letter]) for letter in letters) for letters in steps)
    return Formula(f"O({symbols})", numbers)


def _window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    output, sizes = call.attr("output"), _sizes(call)
    relations: list[Relation | None] = []
    for index, term in enumerate(call.attr("operands")):
        if call.input(index).is_weight:
            relations.append(None)
            continue
        maps: list[AxisMap] = []
        for letter, size in zip(term, call.shape(index), strict=True):
            if size == 1 and sizes[letter] != 1:
                maps.append(Fixed(0))
            else:
                maps.append(Same(output.index(letter)) if letter in output else All())
        relations.append(Axes(tuple(maps)))
    return tuple(relations)


def _shapes(call: Call) -> tuple[Shape | None, ...]:
    sizes = _sizes(call)
    return (tuple(sizes[letter] for letter in call.attr("output")),)


def _normalise(call: Call) -> Call:
    equation = call.attr("equation")
    text = equation.decode() if isinstance(equation, bytes) else equation
    operands, output = parse_equation(text, [len(call.shape(i)) for i in range(len(call.inputs))])
    return call.with_attributes({"operands": operands, "output": output})


SPECS = (
    OpSpec(
        kind="einsum",
        work=_work,
        formula=_formula,
        window=_window,
        shapes=_shapes,
        roles=dict.fromkeys(range(8), Role.PARAMETER),
        mac_operator=True,
        spellings=tuple(Spelling(name, _normalise) for name in ("onnx:Einsum", "aten:einsum", "torch:einsum")),
    ),
)
