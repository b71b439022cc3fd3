"""onnxruntime's blocked layout (NCHWc): which nodes run in it, and the reorders in and out of it.

Channels stand in blocks of B (8 with AVX2, 16 with AVX-512). In execution order:

1. A convolution runs blocked if it has one group and fewer than B input channels (it then reads NCHW itself) or a
   multiple of 4 of them; if it is depthwise with a multiple of 4 channels; or if each group has whole blocks of input
   and of output channels.
2. A pooling runs blocked if its channels are whole blocks; a global one only where its input is blocked already.
3. An elementwise sum or product runs blocked if both inputs are blocked and of one shape. The sum joins the first of
   the convolutions that make its inputs which nothing else reads and which has neither sum nor activation yet.
4. A concatenation runs blocked if all its inputs are, each of whole blocks.
5. An activation of a blocked value runs blocked, joined to its convolution where that has none and no other reader.
   Clip and leaky ReLU don't. Resizing a blocked value runs blocked.
6. Batch norm of a blocked value becomes a depthwise 1x1 convolution.
7. A transposition of a blocked value to NHWC is its reorder; one from NHWC to NCHW whose readers are all convolutions
   that reorder is theirs.
8. Of convolutions that stay in NCHW one with a bias takes the sum of its result and a value of its shape, and the
   fusible activation after it, as the blocked ones do (of Add; Sum stays).
9. Every NCHW value that a blocked node reads is reordered once, and so is every blocked one that another node reads.
"""

from __future__ import annotations

from collections.abc import Callable

from cnnprof.ir import Graph
from cnnprof.predict.onnxruntime_nodes import CONV_ACTIVATIONS, NHWC, Node

__all__ = ["blocked"]

_BLOCKED_ACTIVATIONS = frozenset({"relu", "sigmoid", "tanh", "hard_sigmoid", "hard_swish", "gelu", "quick_gelu"})
_JOINED_ACTIVATIONS = frozenset({"relu", "sigmoid", "tanh", "hard_sigmoid", "hard_swish"})
_POOLS = frozenset({"max_pool", "average_pool", "global_average_pool", "global_max_pool"})
_SIZED = 4  # convolutions pad channels to blocks where they are a multiple of this


def blocked(nodes: list[Node], graph: Graph, block: int) -> list[Node]:
    """``nodes`` with their layouts chosen and reorders put in, in execution order. ``block`` 1: no blocked layout."""
    if block == 1:
        return nodes
    return _Layout(nodes, graph, block).result()


class _Layout:
    def __init__(self, nodes: list[Node], graph: Graph, block: int) -> None:
        self.nodes, self.graph, self.block = nodes, graph, block
        self.maker: dict[str, Node] = {}  # of blocked values
        self.uses: dict[str, int] = dict.fromkeys(graph.outputs, 1)
        for node in nodes:
            for name in node.inputs:
                self.uses[name] = self.uses.get(name, 0) + 1
        self.left = dict(self.uses)  # readers that want NCHW
        self.reordered: set[str] = set()
        self.turned: dict[str, Node] = {}  # NHWC -> NCHW transpositions by what they make
        self.out: list[Node] = []

    def result(self) -> list[Node]:
        for node in self.nodes:
            rule = _RULES.get(node.kind)
            if rule is not None and rule(self, node):
                continue
            self.out.append(node)
        self._transpositions()
        self._plain_sums()
        return self._with_reorders_out()

    # -- parts ---------------------------------------------------------------------------------------

    def shape(self, name: str) -> tuple[int, ...]:
        return self.graph.tensors[name.removesuffix(NHWC)].shape or ()

    def whole(self, name: str) -> bool:
        shape = self.shape(name)
        return len(shape) == 4 and shape[1] % self.block == 0

    def read(self, name: str) -> None:
        """A blocked node reads ``name``: no longer wanted in NCHW, reordered where it isn't blocked."""
        self.left[name] -= 1
        if name not in self.maker and name not in self.reordered:
            self.reordered.add(name)
            self.out.append(Node("reorder_in", [], [name], [name], blocked=True))

    def make(self, node: Node) -> bool:
        node.blocked = True
        self.out.append(node)
        self.maker[node.output] = node
        return True

    def joinable(self, name: str) -> Node | None:
        node = self.maker.get(name)
        if node is None or node.kind not in ("conv", "batch_norm") or node.activation or self.uses[name] != 1:
            return None
        return node

    def join(self, node: Node, into: Node) -> bool:
        into.ops.extend(node.ops)
        into.extras.extend(node.extras)
        into.outputs = node.outputs
        self.maker[node.output] = into
        return True

    def _transpositions(self) -> None:
        """Rule 7's second half: drop what nothing reads in NCHW any more."""
        for name, node in self.turned.items():
            reorder = next((n for n in self.out if n.kind == "reorder_in" and n.outputs == [name]), None)
            if reorder is not None and self.left[name] <= 0:
                reorder.inputs, reorder.channels_last = list(node.inputs), True
                reorder.ops, reorder.extras = node.ops, node.extras
                self.out.remove(node)

    def _plain_sums(self) -> None:
        """Rule 8."""
        makers = {node.output: node for node in self.out if node.kind == "conv" and not node.blocked}
        for node in [n for n in self.out if n.kind == "add" and not n.blocked and len(n.inputs) == 2]:
            if self.shape(node.inputs[0]) != self.shape(node.inputs[1]) or node.head.op_type == "onnx:Sum":
                continue
            for index, name in enumerate(node.inputs):
                conv = makers.get(name)
                if conv is None or conv.activation or conv.has_sum or self.uses[name] != 1 or not _has_bias(conv):
                    continue
                self.out.remove(conv)
                conv.has_sum = True
                conv.inputs.append(node.inputs[1 - index])
                self._absorb(node, conv)
                after = [n for n in self.out if node.output in n.inputs]
                if len(after) == 1 and after[0].kind in CONV_ACTIVATIONS and self.uses[node.output] == 1:
                    conv.activation = after[0].kind
                    self.out.remove(conv)
                    self._absorb(after[0], conv)
                makers[conv.output] = conv
                break

    def _absorb(self, node: Node, conv: Node) -> None:
        """``conv`` moves to where ``node`` stood and makes what that made."""
        self.out[self.out.index(node)] = conv
        conv.ops.extend(node.ops)
        conv.extras.extend(node.extras)
        conv.outputs = node.outputs

    def _with_reorders_out(self) -> list[Node]:
        found: list[Node] = []
        for node in self.out:
            found.append(node)
            if node.blocked and node.kind not in ("reorder_in", "reorder_out") and self.left.get(node.output, 0) > 0:
                found.append(Node("reorder_out", [], [node.output], [node.output], blocked=True))
        return found


def _has_bias(conv: Node) -> bool:
    return len(conv.head.present_inputs) > 2 or any(op.kind in ("batch_norm", "add") for op in conv.extras)


def _conv(layout: _Layout, node: Node) -> bool:
    data = layout.shape(node.head.present_inputs[0])
    out = layout.shape(node.output)
    if len(data) != 4 or len(node.inputs) != 1:
        return False
    groups, block = int(node.head.attributes.get("groups", 1)), layout.block
    inner, outer = data[1] // groups, out[1]
    if groups == 1:
        if inner < block:
            return layout.make(node)
        if inner % _SIZED:
            return False
    elif inner == 1 and outer == groups:
        if outer % _SIZED:
            return False
    elif inner % block or (outer // groups) % block:
        return False
    layout.read(node.inputs[0])
    return layout.make(node)


def _pool(layout: _Layout, node: Node) -> bool:
    if not layout.whole(node.inputs[0]) or len(node.outputs) > 1:
        return False
    name = node.inputs[0]
    if node.kind.startswith("global_") and name not in layout.maker and name not in layout.reordered:
        return False
    layout.read(name)
    return layout.make(node)


def _binary(layout: _Layout, node: Node) -> bool:
    if len(node.inputs) != 2 or any(name not in layout.maker for name in node.inputs):
        return False
    if layout.shape(node.inputs[0]) != layout.shape(node.inputs[1]):
        return False
    for name in node.inputs:
        layout.read(name)
    if node.kind == "add":
        for index, name in enumerate(node.inputs):
            conv = layout.joinable(name)
            if conv is not None and not conv.has_sum:
                conv.has_sum = True
                conv.inputs.append(node.inputs[1 - index])
                layout.out.remove(conv)  # it waits for the other input
                layout.out.append(conv)
                return layout.join(node, conv)
    return layout.make(node)


def _concat(layout: _Layout, node: Node) -> bool:
    if node.head.attributes.get("axis") not in (1, -3) or any(
        name not in layout.maker or not layout.whole(name) for name in node.inputs
    ):
        return False
    for name in node.inputs:
        layout.read(name)
    return layout.make(node)


def _activation(layout: _Layout, node: Node) -> bool:
    if len(node.inputs) != 1 or node.inputs[0] not in layout.maker:
        return False
    name = node.inputs[0]
    layout.left[name] -= 1
    conv = layout.joinable(name) if node.kind in _JOINED_ACTIVATIONS else None
    if conv is not None:
        conv.activation = node.kind
        return layout.join(node, conv)
    return layout.make(node)


def _resize(layout: _Layout, node: Node) -> bool:
    if len(layout.shape(node.output)) != 4 or node.inputs[0] not in layout.maker:
        return False
    layout.left[node.inputs[0]] -= 1
    return layout.make(node)


def _batch_norm(layout: _Layout, node: Node) -> bool:
    if node.inputs[0] not in layout.maker:
        return False
    layout.left[node.inputs[0]] -= 1
    return layout.make(node)


def _transpose(layout: _Layout, node: Node) -> bool:
    name = node.inputs[0]
    if node.channels_last:  # from NHWC
        layout.turned[node.output] = node
        return False
    perm = tuple(node.head.attributes.get("perm", ()))
    if perm != (0, 2, 3, 1) or name not in layout.maker:
        return False
    layout.left[name] -= 1
    layout.out.append(Node("reorder_out", node.ops, [name], node.outputs, blocked=False, channels_last=True,
                           extras=node.extras))  # fmt: skip
    return True


_RULES: dict[str, Callable[[_Layout, Node], bool]] = {
    "conv": _conv,
    **dict.fromkeys(_POOLS, _pool),
    **dict.fromkeys(("add", "mul"), _binary),
    "concat": _concat,
    **dict.fromkeys(_BLOCKED_ACTIVATIONS, _activation),
    "batch_norm": _batch_norm,
    "resize": _resize,
    "transpose": _transpose,
}
