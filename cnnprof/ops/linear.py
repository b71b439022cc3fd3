"""Dense layers and matrix products.

Canonical inputs: a, b, c (the bias or addend, None if absent). Canonical attributes, only where they differ
from nothing: ``transpose_a``, ``transpose_b`` (the two last axes are swapped), ``batch_inner_a``,
``batch_inner_b`` (the first axis stands behind the batch axes: com.microsoft's transBatchA/B), ``alpha``,
``beta``, ``activation``, ``sum_batch`` (addbmm).

MACs are outputs · contracted length. c is one addition an output; alpha ≠ 1 one multiplication an output;
beta ≠ 1 one multiplication an element of c.

``linear`` is a product with a matrix that stands in a weight slot (Gemm, addmm, linear, MatMul by a
constant matrix); ``matmul`` one of two activations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnprof.ir.tensor import Role, Shape, Tensor
from cnnprof.ops.fused_activation import activation_unit
from cnnprof.ops.rules import broadcast_axes, product
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError
from cnnprof.ops.window import All, Axes, AxisMap, Fixed, Relation, Same
from cnnprof.ops.work import Work

__all__ = ["SPECS", "contracted", "keep", "matmul_formula", "matmul_shapes", "matmul_window", "matmul_work"]


def _matrix(call: Call, index: int) -> Shape:
    """Operand 0 or 1 with its batch axes first and its matrix in (rows, columns) order; vectors as they
    are."""
    shape, name = call.shape(index), "ab"[index]
    if not shape:
        raise UncountableError(f"{call.op_type}: operand {index} is a scalar")
    if call.get(f"batch_inner_{name}", False) and len(shape) > 2:
        shape = (*shape[1:-1], shape[0], shape[-1])
    if call.get(f"transpose_{name}", False) and len(shape) > 1:
        shape = (*shape[:-2], shape[-1], shape[-2])
    return shape


def contracted(call: Call) -> int:
    """The length of the sums: operand a's last logical axis."""
    return _matrix(call, 0)[-1]


# -- work -----------------------------------------------------------------------------------------------


def matmul_work(call: Call) -> Work:
    out = call.out_elements()
    length = contracted(call)
    if call.get("sum_batch", False):
        length *= call.shape(0)[0]
    work = Work(mac=out * length) + activation_unit(call.get("activation")) * out
    if call.get("alpha", 1) != 1:
        work += Work(mul=out)
    if call.has(2) and call.get("beta", 1) != 0:
        work += Work(add=out, mul=call.elements(2) if call.get("beta", 1) != 1 else 0)
    return work


def matmul_formula(call: Call) -> Formula:
    """O(B·M·K·N); the batch is left out where there is none."""
    a, b = _matrix(call, 0), _matrix(call, 1)
    rows, columns = (a[-2] if len(a) > 1 else 1), (b[-1] if len(b) > 1 else 1)
    batch = call.out_elements() // max(1, rows * columns)
    if call.get("sum_batch", False):
        batch *= call.shape(0)[0]
    if batch == 1:
        return product("M·K·N", rows, a[-1], columns)
    return product("B·M·K·N", batch, rows, a[-1], columns)


def _linear_formula(call: Call) -> Formula:
    """O(B·C_in·C_out)."""
    length = contracted(call)
    columns = _matrix(call, 1)[-1]
    return product("B·C_in·C_out", call.out_elements() // max(1, columns), length, columns)


# -- window ---------------------------------------------------------------------------------------------


def _operand(call: Call, index: int, out: Shape) -> Axes:
    name = "ab"[index]
    shape = _matrix(call, index)
    if len(shape) == 1:
        return Axes((All(),))
    other = _matrix(call, 1 - index)
    free = len(out) - 1 if index == 1 or len(other) == 1 else len(out) - 2
    batch = len(out) - 1 - (1 if len(other) > 1 else 0)  # output axes that are batch
    maps: list[AxisMap] = []
    for axis, size in enumerate(shape[:-2]):
        target = axis + batch - (len(shape) - 2)
        if call.get("sum_batch", False):
            maps.append(All())
        else:
            maps.append(Fixed(0) if size == 1 and out[target] != 1 else Same(target))
    matrix: list[AxisMap] = [Same(free), All()] if index == 0 else [All(), Same(free)]
    if call.get(f"transpose_{name}", False):
        matrix.reverse()
    if call.get(f"batch_inner_{name}", False) and len(shape) > 2:
        return Axes((matrix[0], *maps, matrix[1]))
    return Axes((*maps, *matrix))


def matmul_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    """Row i of the output reads row i of a and all of b's contracted axis, and so on."""
    out = call.out_shape()
    relations: list[Relation | None] = [
        None if call.input(index).is_weight else _operand(call, index, out) for index in (0, 1)
    ]
    rest = call.inputs[2:]
    addend = call.has(2) and not call.input(2).is_weight
    relations += [broadcast_axes(call.shape(2), out) if addend and i == 0 else None for i in range(len(rest))]
    return tuple(relations)


# -- shapes ---------------------------------------------------------------------------------------------


def broadcast(*shapes: Shape) -> Shape:
    """NumPy broadcasting. Raises UncountableError where the shapes don't agree."""
    rank = max(map(len, shapes))
    rows = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
    out = []
    for sizes in rows:
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise UncountableError(f"shapes {shapes} don't broadcast")
        out.append(wide.pop() if wide else 1)
    return tuple(out)


def matmul_shapes(call: Call) -> tuple[Shape | None, ...]:
    a, b = _matrix(call, 0), _matrix(call, 1)
    if call.get("sum_batch", False):
        return ((a[-2], b[-1]),)
    batch = broadcast(a[:-2], b[:-2]) if max(len(a), len(b)) > 2 else ()
    rows = a[-2:-1] if len(a) > 1 else ()
    columns = b[-1:] if len(b) > 1 else ()
    return ((*batch, *rows, *columns),)


# -- spellings ------------------------------------------------------------------------------------------


def keep(**attributes: Any) -> Mapping[str, Any]:
    """Only the attributes that say something: not False, not 1 (alpha, beta), not an empty activation."""
    return {
        name: value
        for name, value in attributes.items()
        if not (value is None or value is False or value == "" or (name in ("alpha", "beta") and value == 1))
    }


def _flags(call: Call) -> Mapping[str, Any]:
    return keep(
        transpose_a=bool(call.get("transA", 0)),
        transpose_b=bool(call.get("transB", 0)),
        batch_inner_a=bool(call.get("transBatchA", 0)),
        batch_inner_b=bool(call.get("transBatchB", 0)),
        alpha=call.get("alpha", 1),
        beta=call.get("beta", 1),
        activation=call.get("activation", ""),
    )


def _from_onnx(call: Call) -> Call:
    """Gemm, MatMul, FusedGemm, FusedMatMul: a, b, c."""
    return call.with_attributes(_flags(call))


def _from_gemm_fast_gelu(call: Call) -> Call:
    return call.with_attributes({"activation": "fastgelu"})


def _from_linear(call: Call) -> Call:
    """linear(input, weight (out, in), bias)."""
    return call.with_attributes({"transpose_b": True} if len(call.shape(1)) > 1 else {})


def _addend_last(call: Call) -> tuple[Tensor | None, ...]:
    addend, a, b = call.inputs[:3]
    return (a, b, addend)


def _from_addmm(call: Call) -> Call:
    """addmm, baddbmm, addmv, addbmm: self, a, b."""
    activation = ""
    if "_addmm_activation" in call.op_type:
        activation = "gelu" if call.get("use_gelu", False) else "relu"
    attributes = keep(
        alpha=call.get("alpha", 1),
        beta=call.get("beta", 1),
        activation=activation,
        sum_batch=":addbmm" in call.op_type,
    )
    return call.with_attributes(attributes, _addend_last(call))


def _from_product(call: Call) -> Call:
    """mm, bmm, mv, dot, matmul: two operands and nothing else."""
    return call.with_attributes({})


def _is_dense(call: Call) -> bool:
    """The second operand is a matrix from the model file."""
    tensor = call.inputs[1] if len(call.inputs) > 1 else None
    return tensor is not None and tensor.is_weight and tensor.shape is not None and len(tensor.shape) == 2


def _is_product(call: Call) -> bool:
    return not _is_dense(call)


_DENSE = ("onnx:MatMul", "com.microsoft:FusedMatMul", "com.microsoft:TransposeMatMul")
_PRODUCTS = ("aten:mm", "aten:matmul", "aten:bmm", "aten:_int_mm", "torch:matmul")
_ADDED = ("baddbmm", "baddbmm_", "addmv", "addmv_", "addbmm", "addbmm_")
_WEIGHTS = {1: Role.PARAMETER, 2: Role.PARAMETER}

SPECS = (
    OpSpec(
        kind="linear",
        work=matmul_work,
        formula=_linear_formula,
        window=matmul_window,
        shapes=matmul_shapes,
        roles=_WEIGHTS,
        mac_operator=True,
        spellings=(
            Spelling("onnx:Gemm", _from_onnx),
            Spelling("com.microsoft:FusedGemm", _from_onnx),
            Spelling("com.microsoft:GemmFloat8", _from_onnx),
            Spelling("com.microsoft:GemmFastGelu", _from_gemm_fast_gelu),
            *(Spelling(name, _from_onnx, when=_is_dense) for name in _DENSE),
            Spelling("com.microsoft:FusedMatMulActivation", _from_onnx, when=_is_dense),
            *(Spelling(f"aten:{name}", _from_addmm) for name in ("addmm", "addmm_", "_addmm_activation")),
            *(Spelling(f"aten:{name}", _from_linear) for name in ("linear", "mkldnn_linear")),
            Spelling("torch:linear", _from_linear),
            *(Spelling(name, _from_product, when=_is_dense) for name in _PRODUCTS),
        ),
    ),
    OpSpec(
        kind="matmul",
        work=matmul_work,
        formula=matmul_formula,
        window=matmul_window,
        shapes=matmul_shapes,
        roles={0: Role.PARAMETER, 1: Role.PARAMETER, 2: Role.PARAMETER},
        mac_operator=True,
        spellings=(
            *(Spelling(name, _from_onnx, when=_is_product) for name in _DENSE),
            Spelling("com.microsoft:FusedMatMulActivation", _from_onnx, when=_is_product),
            *(Spelling(name, _from_product, when=_is_product) for name in _PRODUCTS),
            *(Spelling(f"aten:{name}", _from_product) for name in ("mv", "dot", "vdot")),
            *(Spelling(f"aten:{name}", _from_addmm) for name in _ADDED),
        ),
    ),
)
