"""Types of a run of nodes, from onnx's shape inference, asked in batches.

The first question covers all nodes. Where inference stops (a value it can't see, an operator it doesn't
know) and the caller finds the answer elsewhere, a new question starts at that node; its width follows the
progress made since the last one, so the whole stays linear however often that happens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnnprof.errors import ModelError
from cnnprof.frontends.onnx.encode import model_proto
from cnnprof.frontends.onnx.engine import infer
from cnnprof.frontends.onnx.guard import Guard
from cnnprof.frontends.onnx.info import Info
from cnnprof.frontends.onnx.records import Node, TypeRec
from cnnprof.frontends.onnx.walker import Walker
from cnnprof.frontends.onnx.wire import scan

__all__ = ["Inference", "guesses"]

_DOMAINS = frozenset({"", "ai.onnx.ml", "ai.onnx.preview.training", "ai.onnx.training"})
_MIN_WIDTH = 16
# Inference takes the default for an axis that is an input of unknown value: its answer is a guess.
_GUESSES = {"Squeeze": 1, "DFT": 2}


class Inference:
    """Answers for ``nodes``, in order. ``known`` is the caller's growing table of what it knows."""

    def __init__(self, nodes: Sequence[Node], known: Mapping[str, Info], guard: Guard) -> None:
        self._nodes = nodes
        self._guard = guard
        self._known = known
        self._start = 0
        self._stop = 0
        self._width = len(nodes)
        self._types: dict[str, TypeRec] = {}
        self.stale = False  # the caller knows more than the last question held

    def types(self, index: int) -> Mapping[str, TypeRec]:
        """Inferred types by name, good for node ``index`` and some after it."""
        if index >= self._stop:
            self._ask(index, self._width if self._stop == 0 else max(64, 2 * (self._stop - self._start)))
        return self._types

    def again(self, index: int) -> Mapping[str, TypeRec]:
        """As :meth:`types`, from a new question if the caller has learned something since the last."""
        if self.stale:
            self._ask(index, max(_MIN_WIDTH, 2 * (index - self._start)))
        return self._types

    def _ask(self, start: int, width: int) -> None:
        while True:
            stop, answer = self._question(start, width)
            if answer is not None or stop - start <= 1:
                break
            width = (stop - start) // 2  # one node upsets inference as a whole: ask for less
        self._start, self._stop, self.stale = start, stop, False
        self._types = _value_types(answer) if answer is not None else {}

    def _question(self, start: int, width: int) -> tuple[int, bytes | None]:
        nodes, known = self._nodes, self._known
        imports = nodes[start].imports
        batch: list[Node] = []
        outer: dict[str, Info] = {}
        made: set[str] = set()
        stop = start
        for stop in range(start, min(start + width, len(nodes))):
            node = nodes[stop]
            if node.imports is not imports and node.imports != imports:
                break
            if node.domain not in _DOMAINS or node.domain not in imports or node.has_graphs:
                continue
            if (node.op_type in _GUESSES and guesses(node, known)) or not self._guard.sound(node):
                continue
            for name in node.inputs:
                if name and name not in made and name not in outer:
                    info = known.get(name)
                    if info is None or not (info.elem or info.other):
                        break  # inference isn't safe against values without a type
                    outer[name] = info
            else:
                made.update(node.outputs)
                batch.append(node)
        else:
            stop += 1
        return stop, infer(model_proto(batch, outer, imports)) if batch else b""


def guesses(node: Node, known: Mapping[str, Info]) -> bool:
    """True where an axis that steers the shape is an input of unknown value, so that any rule would guess."""
    slot = _GUESSES.get(node.op_type)
    if slot is None or node.domain or slot >= len(node.inputs) or not node.inputs[slot]:
        return False
    info = known.get(node.inputs[slot])
    return info is None or info.value is None


def _value_types(model: bytes) -> dict[str, TypeRec]:
    found: dict[str, TypeRec] = {}
    walker = Walker(model)
    try:
        for tag, a, b in scan(model, 0, len(model)):
            if tag == 58:
                for inner, c, d in scan(model, a, b):
                    if inner == 106:
                        value = walker.value(c, d)
                        found[value.name] = value.type
    except ModelError:
        return found  # inference wrote a name it was given damaged
    return found
