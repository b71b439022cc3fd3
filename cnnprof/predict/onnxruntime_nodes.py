"""The nodes that onnxruntime's CPU provider keeps of a graph, before it chooses memory layouts.

1. Operators that read constants alone, or only shapes, are folded; identities (dropout, a slice that takes all) are
   dropped; slices that share out a value between them are one split.
2. Batch norm after a convolution that nothing else reads is folded into its weights; so is a scale or shift by a
   constant per channel.
3. Sigmoid times its own input is one node (QuickGelu).
4. A product with a matrix and the addition of its bias is Gemm between two reshapes.
5. A fusible activation that is the only reader joins the convolution or the (flat) Gemm before it.
6. A product reads a matrix turned by itself. A transposition from NHWC to NCHW moves behind a scale or shift by
   constants, and behind a sum whose other input is transposed alike; the transposition back cancels it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cnnprof.ir import Graph, Op

__all__ = ["CONV_ACTIVATIONS", "NHWC", "Node", "nodes_of"]

NHWC = "@nhwc"  # ends the name of a tensor's copy in that layout

CONV_ACTIVATIONS = frozenset({"relu", "clip", "leaky_relu", "sigmoid", "tanh", "hard_sigmoid"})
_GEMM_ACTIVATIONS = frozenset({"relu", "leaky_relu", "sigmoid", "tanh", "hard_sigmoid", "elu", "softplus"})
_IDENTITIES = frozenset({"dropout", "identity"})


@dataclass(slots=True, eq=False)
class Node:
    """A node under construction. ``kind`` is its first op's kind, "quick_gelu", "reorder_in" or "reorder_out";
    ``inputs`` are activations alone."""

    kind: str
    ops: list[Op]
    inputs: list[str]
    outputs: list[str]
    activation: str = ""
    blocked: bool = False
    has_sum: bool = False
    channels_last: bool = False
    extras: list[Op] = field(default_factory=list)  # covered, but without work: folded into weights or dropped

    @property
    def head(self) -> Op:
        return self.ops[0]

    @property
    def output(self) -> str:
        return self.outputs[0]


def nodes_of(graph: Graph) -> tuple[list[Node], list[Op]]:
    """(nodes in execution order, ops that are folded away)."""
    nodes, folded = _Builder(graph).result()
    return _Transpositions(graph, nodes, folded).result()


class _Builder:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants = _constant_values(graph)
        self.alias: dict[str, str] = {}
        self.uses: dict[str, int] = {}
        self.nodes: list[Node] = []
        self.maker: dict[str, Node] = {}
        self.folded: list[Op] = []

    def result(self) -> tuple[list[Node], list[Op]]:
        for op in self.graph.ops:
            for name in op.present_inputs:
                self.uses[name] = self.uses.get(name, 0) + 1
        for name in self.graph.outputs:
            self.uses[name] = self.uses.get(name, 0) + 1
        for op in self.graph.ops:
            self._add(op)
        self._slices()
        return self.nodes, self.folded

    def _slices(self) -> None:
        """Slices that share out all of a value between them are one split."""
        sharing: dict[str, list[Node]] = {}
        for node in self.nodes:
            if node.kind == "slice":
                sharing.setdefault(node.inputs[0], []).append(node)
        for name, nodes in sharing.items():
            if len(nodes) > 1 and self._tile(name, nodes):
                first, *others = nodes
                first.kind = "split"
                for node in others:
                    first.ops.extend(node.ops)
                    first.outputs.extend(node.outputs)
                    self.nodes.remove(node)

    def _tile(self, name: str, nodes: list[Node]) -> bool:
        whole = self.graph.tensors[name].shape or ()
        starts = [tuple(node.head.attributes.get("starts", ())) for node in nodes]
        sizes = [tuple(node.head.attributes.get("sizes", ())) for node in nodes]
        if any(len(edge) != len(whole) or None in edge for edge in (*starts, *sizes)):
            return False
        axes = {axis for own in sizes for axis, size in enumerate(own) if size != whole[axis]}
        if len(axes) != 1:
            return False
        axis, reached = axes.pop(), 0
        for start, size in sorted((start[axis], size[axis]) for start, size in zip(starts, sizes, strict=True)):
            if start != reached:
                return False
            reached += size
        return reached == whole[axis]

    def _add(self, op: Op) -> None:
        if all(name in self.constants for name in op.present_outputs):
            self.folded.append(op)
            return
        inputs = [self.alias.get(n, n) for n in op.present_inputs if n not in self.constants]
        if inputs and (op.kind in _IDENTITIES or (op.kind == "slice" and self._all_of_it(op))):
            self._drop(op, inputs[0])
            return
        for join in (_into_convolution, _bias_of_product, _quick_gelu, _into_gemm):
            node = join(self, op, inputs)
            if node is not None:
                node.outputs = list(op.present_outputs)
                self.maker.update(dict.fromkeys(node.outputs, node))
                return
        node = Node(op.kind, [op], inputs, list(op.present_outputs))
        if op.kind == "matmul":
            self._turn(node)
        self.nodes.append(node)
        self.maker.update(dict.fromkeys(node.outputs, node))

    def _drop(self, op: Op, source: str) -> None:
        output = op.present_outputs[0]
        self.alias[output] = source
        self.uses[source] = self.uses.get(source, 1) - 1 + self.uses.get(output, 0)
        node = self.maker.get(source)
        if node is None:
            self.folded.append(op)
        else:
            node.extras.append(op)

    def _turn(self, node: Node) -> None:
        """A product reads a matrix turned by itself."""
        for index, name in enumerate(node.inputs):
            maker = self.only_reader(name)
            if maker is None or maker.kind != "transpose":
                continue
            *lead, last, before = _perm(maker)
            if (*lead, before, last) == tuple(range(len(lead) + 2)):
                self.nodes.remove(maker)
                node.inputs[index] = maker.inputs[0]
                node.extras.extend([*maker.ops, *maker.extras])

    def _all_of_it(self, op: Op) -> bool:
        taken, given = (self.graph.tensors[n].shape for n in (op.present_outputs[0], op.present_inputs[0]))
        return taken is not None and taken == given

    def only_reader(self, name: str) -> Node | None:
        """The node that makes ``name`` and keeps it for one reader, else None."""
        return self.maker.get(name) if self.uses.get(name, 0) == 1 else None


def _constant_values(graph: Graph) -> frozenset[str]:
    """Weights, and what is computed of them alone."""
    found = {tensor.name for tensor in graph.tensors.values() if tensor.is_weight}
    for op in graph.ops:
        if all(name in found for name in op.present_inputs) or op.kind in ("shape", "size"):
            found.update(op.present_outputs)
    return frozenset(found)


def _into_convolution(to: _Builder, op: Op, inputs: list[str]) -> Node | None:
    node = to.only_reader(inputs[0]) if len(inputs) == 1 else None
    if node is None or node.kind != "conv" or node.activation:
        return None
    if op.kind == "batch_norm" or _by_constant(to, op):
        node.extras.append(op)
        return node
    if op.kind in CONV_ACTIVATIONS:
        node.activation = op.kind
        node.ops.append(op)
        return node
    return None


def _by_constant(to: _Builder, op: Op) -> bool:
    """A scale or a shift per channel by constants (axis 1 of four)."""
    if op.kind not in ("mul", "add") or len(op.present_inputs) != 2:
        return False
    shapes = [to.graph.tensors[n].shape for n in op.present_inputs if n in to.constants]
    out = to.graph.tensors[op.present_outputs[0]].shape or ()
    if len(shapes) != 1 or shapes[0] is None or len(out) < 3:
        return False
    full = (1,) * (len(out) - len(shapes[0])) + tuple(shapes[0])
    return len(full) == len(out) and all(size == 1 for axis, size in enumerate(full) if axis != 1)


def _bias_of_product(to: _Builder, op: Op, inputs: list[str]) -> Node | None:
    if op.kind != "add" or len(inputs) != 1 or len(op.present_inputs) != 2:
        return None
    node = to.only_reader(inputs[0])
    if node is None or node.kind not in ("linear", "matmul") or len(node.ops) > 1 or len(node.inputs) != 1:
        return None
    shapes = [to.graph.tensors[n].shape or () for n in op.present_inputs if n in to.constants]
    if len(shapes[0]) != 1:
        return None
    node.ops.append(op)
    return node


def _quick_gelu(to: _Builder, op: Op, inputs: list[str]) -> Node | None:
    if op.kind != "mul" or len(inputs) != 2:
        return None
    for gate, value in (inputs, reversed(inputs)):
        node = to.only_reader(gate)
        if node is not None and node.kind == "sigmoid" and node.inputs == [value]:
            node.kind = "quick_gelu"
            node.ops.append(op)
            to.uses[value] -= 1
            return node
    return None


def _into_gemm(to: _Builder, op: Op, inputs: list[str]) -> Node | None:
    if op.kind not in _GEMM_ACTIVATIONS or len(inputs) != 1:
        return None
    node = to.only_reader(inputs[0])
    if node is None or node.kind != "linear" or node.activation or node.head.op_type.endswith(":MatMul"):
        return None
    node.activation = op.kind
    node.ops.append(op)
    return node


class _Transpositions:
    """Rule 6. A value in ``held`` exists in NHWC (under that name), and in NCHW only if someone needs it (``made``)."""

    def __init__(self, graph: Graph, nodes: list[Node], folded: list[Op]) -> None:
        self.graph, self.nodes, self.folded = graph, nodes, folded
        self.held: dict[str, str] = {}
        self.owed: dict[str, list[Op]] = {}  # transpositions not made yet, by the value they make
        self.alias: dict[str, str] = {}
        self.made: set[str] = set()
        self.out: list[Node] = []

    def result(self) -> tuple[list[Node], list[Op]]:
        for node in self.nodes:
            node.inputs = [self.alias.get(name, name) for name in node.inputs]
            if not (self._taken(node) or self._cancelled(node) or self._moved(node)):
                for name in node.inputs:
                    self._need(name)
                self.out.append(node)
        for name in self.graph.outputs:
            self._need(name)
        self.folded.extend(op for ops in self.owed.values() for op in ops)
        return self.out, self.folded

    def _taken(self, node: Node) -> bool:
        if node.kind != "transpose" or _perm(node) != (0, 3, 1, 2):
            return False
        self.held[node.output] = node.inputs[0]
        self.owed[node.output] = [*node.ops, *node.extras]
        return True

    def _cancelled(self, node: Node) -> bool:
        if node.kind != "transpose" or _perm(node) != (0, 2, 3, 1) or node.inputs[0] not in self.held:
            return False
        self.alias[node.output] = self.held[node.inputs[0]]
        self.folded.extend([*node.ops, *node.extras])
        return True

    def _moved(self, node: Node) -> bool:
        if node.kind not in ("mul", "add") or not node.inputs or any(name not in self.held for name in node.inputs):
            return False
        owed = [op for name in dict.fromkeys(node.inputs) for op in self.owed.pop(name, [])]
        output = node.output
        node.inputs = [self.held[name] for name in node.inputs]
        node.outputs = [output + NHWC]
        node.channels_last = True
        self.held[output], self.owed[output] = node.output, owed
        self.out.append(node)
        return True

    def _need(self, name: str) -> None:
        source = self.held.get(name)
        if source is not None and name not in self.made:
            self.made.add(name)
            self.out.append(Node("transpose", self.owed.pop(name, []), [source], [name], channels_last=True))


def _perm(node: Node) -> tuple[int, ...]:
    return tuple(node.head.attributes.get("perm", ()))
