"""Kinds that only move or describe data: no work, whatever the tensors; shapes written down by hand.

The exceptions stand here too, because they move data first: folding columns into an image adds what overlaps, a
reducing scatter combines what it places, looking for non-zeros compares.
"""

import pytest
from calls import act, canonical, const

from cnnprof.ops.window import DataDependent
from cnnprof.ops.work import Work

X = [act(2, 3, 4, 5)]
FREE = Work()


def moved(kind, name, inputs, outputs, **attributes):
    return (kind, name, inputs, outputs, attributes, FREE)


CASES = [
    # describe anew
    moved("reshape", "onnx:Reshape", [*X, const(2, value=(0, -1))], [(2, 60)]),
    moved("reshape", "onnx:Flatten", X, [(6, 20)], axis=2),
    moved("reshape", "aten:squeeze.dim", [act(2, 1, 3)], [(2, 3)], dim=1),
    moved("reshape", "onnx:Unsqueeze", [act(2, 3), const(2, value=(0, 3))], [(1, 2, 3, 1)]),
    moved("transpose", "onnx:Transpose", X, [(2, 4, 5, 3)], perm=(0, 2, 3, 1)),
    moved("transpose", "aten:t", [act(3, 4)], [(4, 3)]),
    moved("transpose", "aten:movedim.int", X, [(3, 4, 5, 2)], source=0, destination=-1),
    moved("expand", "onnx:Expand", [act(3, 1), const(3, value=(2, 1, 4))], [(2, 3, 4)]),
    moved("as_complex", "aten:view_as_complex", [act(4, 2)], [(4,)]),
    moved("as_strided", "aten:as_strided", [act(4, 4)], [(2, 2)], size=(2, 2), stride=(8, 2)),
    moved("shape", "onnx:Shape", X, [(4,)]),
    moved("size", "onnx:Size", X, [()]),
    # join and part
    moved("concat", "onnx:Concat", [act(2, 3, 4), act(2, 5, 4)], [(2, 8, 4)], axis=-2),
    moved("stack", "aten:stack", [act(2, 3), act(2, 3)], [(2, 2, 3)], dim=1),
    moved("split", "onnx:Split", [act(2, 7)], [(2, 3), (2, 3), (2, 1)], axis=1, num_outputs=3),
    moved("split", "aten:split.Tensor", [act(2, 7)], [(2, 4), (2, 3)], split_size=4, dim=1),
    moved("unbind", "aten:unbind.int", [act(2, 3)], [(3,), (3,)], dim=0),
    moved("select", "aten:select.int", [act(2, 3, 4)], [(2, 4)], dim=1, index=-1),
    # columns 6, 4, 2 of 7
    moved(
        "slice",
        "onnx:Slice",
        [act(2, 7), *(const(1, value=(v,)) for v in (-1, 0, 1, -2))],
        [(2, 3)],
    ),
    moved("slice", "aten:narrow", [act(2, 7)], [(2, 3)], dim=1, start=2, length=3),
    moved("tile", "onnx:Tile", [act(2, 3), const(2, value=(1, 3))], [(2, 9)]),
    moved("tile", "aten:repeat", [act(3)], [(2, 6)], repeats=(2, 2)),
    moved("pad", "onnx:Pad", [act(2, 3), const(4, value=(0, 1, 0, 2))], [(2, 6)]),
    moved("pad", "aten:reflection_pad1d", [act(1, 2, 5)], [(1, 2, 8)], padding=(1, 2)),
    moved("pad", "onnx:CenterCropPad", [act(7, 3), const(2, value=(4, 5))], [(4, 5)]),
    # rearrange
    moved("depth_to_space", "onnx:DepthToSpace", [act(1, 8, 2, 3)], [(1, 2, 4, 6)], blocksize=2),
    moved("depth_to_space", "aten:pixel_shuffle", [act(1, 8, 2, 3)], [(1, 2, 4, 6)], upscale_factor=2),
    moved("space_to_depth", "onnx:SpaceToDepth", [act(1, 2, 4, 6)], [(1, 8, 2, 3)], blocksize=2),
    moved("channel_shuffle", "aten:channel_shuffle", [act(1, 6, 2, 2)], [(1, 6, 2, 2)], groups=3),
    moved("unfold", "aten:unfold", [act(2, 7)], [(2, 3, 3)], dimension=1, size=3, step=2),
    # 3x3 windows on 5x6: 3·4 of them
    moved("im2col", "aten:im2col", [act(1, 2, 5, 6)], [(1, 18, 12)], kernel_size=(3, 3)),
    (
        "col2im",
        "aten:col2im",
        [act(1, 18, 12)],
        [(1, 2, 5, 6)],
        {"output_size": (5, 6), "kernel_size": (3, 3)},
        Work(add=216),
    ),
    (
        "col2im",
        "onnx:Col2Im",
        [act(1, 18, 12), const(2, value=(5, 6)), const(2, value=(3, 3))],
        [(1, 2, 5, 6)],
        {},
        Work(add=216),
    ),
    moved("roll", "aten:roll", X, [(2, 3, 4, 5)], shifts=(1, 2), dims=(2, 3)),
    moved("flip", "aten:flip", X, [(2, 3, 4, 5)], dims=(-1,)),
    moved("repeat_interleave", "aten:repeat_interleave.self_int", [act(2, 3)], [(2, 6)], repeats=2, dim=1),
    moved("diagonal", "aten:diagonal", [act(2, 4, 5)], [(2, 4)], offset=1, dim1=1, dim2=2),
    moved("diagonal_embed", "aten:diag_embed", [act(2, 3)], [(2, 4, 4)], offset=1),
    moved("triangle", "onnx:Trilu", [act(4, 5)], [(4, 5)]),
    moved("triangle", "com.microsoft:Trilu", [act(4, 5)], [(4, 5)]),
    # pick and place
    moved("gather", "aten:index_select", [act(5, 3), const(2, value=(4, 0))], [(2, 3)], dim=0),
    moved("gather_elements", "onnx:GatherElements", [act(5, 3), act(2, 3)], [(2, 3)]),
    moved("gather_nd", "onnx:GatherND", [act(5, 3, 4), act(7, 2)], [(7, 4)]),
    moved("index", "aten:index.Tensor", [act(5, 3), act(4)], [(4, 3)]),
    moved("scatter", "onnx:ScatterElements", [act(4, 5), act(2, 5), act(2, 5)], [(4, 5)]),
    # 10 elements meet what is there
    (
        "scatter_reduce",
        "onnx:ScatterElements",
        [act(4, 5), act(2, 5), act(2, 5)],
        [(4, 5)],
        {"reduction": "max"},
        Work(cmp=10),
    ),
    ("scatter_reduce", "aten:scatter_add_", [act(4, 5), act(2, 5), act(2, 5)], [(4, 5)], {"dim": 0}, Work(add=10)),
    # 3 rows of 5
    ("scatter_reduce", "aten:index_put_", [act(4, 5), act(3), act(3, 5)], [(4, 5)], {"accumulate": True}, Work(add=15)),
    moved("tensor_scatter", "onnx:TensorScatter", [act(2, 8, 4), act(2, 1, 4), act(2)], [(2, 8, 4)]),
    moved("slice_scatter", "aten:slice_scatter", [act(6, 3), act(2, 3)], [(6, 3)], dim=0, start=1, end=5, step=2),
    moved("select_scatter", "aten:select_scatter", [act(6, 3), act(3)], [(6, 3)], dim=0, index=-1),
    moved("one_hot", "onnx:OneHot", [act(2, 3), const(value=(7,)), act(2)], [(2, 3, 7)]),
    ("nonzero", "onnx:NonZero", X, [None], {}, Work(cmp=120)),
    moved("compress", "aten:masked_select", [act(4), act(4)], [None]),
    moved("pack_sequence", "aten:_pack_padded_sequence", [act(2, 5, 3), act(2)], [None, None]),
    moved("reverse_sequence", "onnx:ReverseSequence", [act(5, 2), act(2)], [(5, 2)]),
    moved("string_concat", "onnx:StringConcat", [act(2, 1), act(3)], [(2, 3)]),
    moved("refresh", "torch:refresh", [act(4, 6), act(4, 2)], [(4, 6)], mode="slice", start=(0, 1), step=(1, 2)),
    # containers
    moved("sequence_at", "onnx:SequenceAt", [act(), act()], [(2, 3)]),
    moved("sequence_construct", "onnx:SequenceConstruct", [act(2), act(3)], [None]),
    moved("sequence_erase", "onnx:SequenceErase", [act(), act()], [None]),
    moved("sequence_insert", "onnx:SequenceInsert", [act(), act(2)], [None]),
    moved("optional", "onnx:Optional", [act(2)], [(2,)]),
    moved("optional_get_element", "onnx:OptionalGetElement", [act(2)], [(2,)]),
    moved("split_to_sequence", "onnx:SplitToSequence", [act(4, 2)], [None]),
    moved("concat_from_sequence", "onnx:ConcatFromSequence", [act()], [(4, 2)]),
    moved("sequence_empty", "onnx:SequenceEmpty", [], [None]),
    moved("sequence_length", "onnx:SequenceLength", [act()], [()]),
    moved("optional_has_element", "onnx:OptionalHasElement", [act(2)], [()]),
    # seams of control flow: the condition, one result of either branch
    moved("if_join", "onnx:If", [act(), act(2, 3), act(2, 3)], [(2, 3)], part="join"),
    *(
        moved(f"{kind}_{part}", f"onnx:{name}", [act(2, 3)], [(2, 3)], part=part)
        for kind, name in (("loop", "Loop"), ("scan", "Scan"), ("sequence_map", "SequenceMap"))
        for part in ("enter", "exit")
    ),
]


@pytest.mark.parametrize(("kind", "name", "inputs", "outputs", "attributes", "expected"), CASES)
def test_work(*, kind, name, inputs, outputs, attributes, expected):
    spec, call = canonical(name, inputs, outputs, **attributes)
    assert spec.kind == kind
    assert spec.work(call) == expected


UNRESOLVED = [
    ("onnx:Transpose", [None], {}),
    ("onnx:Concat", [None, None], {"axis": 1}),
    ("onnx:Unsqueeze", [None], {"axes": (0,)}),
    ("onnx:Split", [None], {}),
    ("onnx:Slice", [None, (1,), (1,)], {}),
]


@pytest.mark.parametrize(("name", "inputs", "attributes"), UNRESOLVED)
def test_what_is_free_is_free_without_shapes(name, inputs, attributes):
    from cnnprof.ir.tensor import Tensor
    from cnnprof.ops.spec import Call
    from cnnprof.ops.table import resolve

    tensors = tuple(Tensor(f"x{i}", shape) for i, shape in enumerate(inputs))
    spec, call = resolve(name, Call(name, tensors, (Tensor("y", None),), attributes))
    assert spec.work(call) == FREE
    assert call.attributes == {}


def test_an_image_of_unknown_size_is_folded_at_a_known_cost():
    spec, call = canonical("onnx:Col2Im", [act(1, 18, 12), act(2), act(2)], [None])
    assert spec.work(call) == Work(add=216)
    assert spec.window(call, 0) == (DataDependent(), None, None)
