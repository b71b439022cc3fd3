"""Small builders of calls for operator tests: tensors from shapes, roles by a prefix."""

from cnnprof.ir.tensor import Role, Tensor
from cnnprof.ops.spec import Call
from cnnprof.ops.table import resolve


def act(*shape, **more):
    return Tensor("x", shape, **more)


def par(*shape):
    return Tensor("w", shape, role=Role.PARAMETER)


def const(*shape, value=None):
    return Tensor("c", shape, role=Role.CONSTANT, value=value)


def canonical(name, inputs, outputs, **attributes):
    """(spec, canonical call) of a foreign operator; ``outputs`` are shapes or None."""
    outs = tuple(None if shape is None else Tensor(f"y{i}", tuple(shape)) for i, shape in enumerate(outputs))
    found = resolve(name, Call(name, tuple(inputs), outs, attributes))
    assert found is not None, f"{name} is not in the table"
    return found


def work(name, inputs, outputs, **attributes):
    spec, call = canonical(name, inputs, outputs, **attributes)
    return spec.work(call)


def window(name, inputs, outputs, output=0, **attributes):
    spec, call = canonical(name, inputs, outputs, **attributes)
    return spec.window(call, output)


def shapes(name, inputs, outputs=(None,), **attributes):
    spec, call = canonical(name, inputs, outputs, **attributes)
    return spec.shapes(call)
