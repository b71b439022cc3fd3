"""Symbolic sizes: names and small integer expressions ("batch", "2*N + 1", "floor(H/2)")."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from fractions import Fraction

__all__ = ["evaluate_size", "is_name"]

_MAX_LENGTH = 200
_Number = int | Fraction


def is_name(expression: str) -> bool:
    """True if the expression is a bare symbol (exporters write dots, dashes and colons into them)."""
    return not any(c in expression for c in "+*/()% ") and not expression.lstrip("-").isdigit()


def evaluate_size(expression: str, sizes: Mapping[str, int]) -> int | None:
    """The size that ``expression`` stands for, or None where a symbol in it has none yet.

    +, -, *, //, /, %, floor, ceil, min, max, and the names in ``sizes``. Anything else gives None.
    """
    if expression in sizes:
        return sizes[expression]
    if len(expression) > _MAX_LENGTH:
        return None
    try:
        found = _value(ast.parse(expression.strip(), mode="eval").body, sizes)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError, KeyError):
        return None
    return int(found) if found == int(found) and found >= 0 else None


_CALLS: dict[str, Callable[..., _Number]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "ceiling": math.ceil,
    "min": min,
    "max": max,
    "Min": min,
    "Max": max,
    "int": int,
}


def _value(node: ast.expr, sizes: Mapping[str, int]) -> _Number:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        return sizes[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, sizes)
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, sizes), _value(node.right, sizes)
        match node.op:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.FloorDiv():
                return left // right
            case ast.Div():
                return Fraction(left) / Fraction(right)
            case ast.Mod():
                return left % right
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _CALLS[node.func.id](*(_value(arg, sizes) for arg in node.args))
    raise ValueError("not a size expression")
