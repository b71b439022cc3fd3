"""The intermediate representation. Knows neither onnx nor torch."""

from cnnprof.ir.builder import GraphBuilder
from cnnprof.ir.dtype import DType
from cnnprof.ir.graph import Graph, ModelSource, Note
from cnnprof.ir.op import NO_ATTRIBUTES, ONCE, UNKNOWN_KIND, Execution, Op
from cnnprof.ir.tensor import Role, Shape, Tensor

__all__ = [
    "NO_ATTRIBUTES",
    "ONCE",
    "UNKNOWN_KIND",
    "DType",
    "Execution",
    "Graph",
    "GraphBuilder",
    "ModelSource",
    "Note",
    "Op",
    "Role",
    "Shape",
    "Tensor",
]
