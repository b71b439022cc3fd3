"""If, Loop, Scan, SequenceMap and functions, flattened; the numbers are worked out beside them."""

from __future__ import annotations

import pytest
from onnx_models import costed, loaded, macs, notes, parsed

from cnnprof.analyses.complexity import LayerCost
from cnnprof.errors import GraphError, ModelError
from cnnprof.ir import Execution


def mac_count(row: LayerCost) -> int:
    return row.macs


BRANCHES = """
    y = If (c) <
        then_branch = then () => (t) { w1 = Constant <value = float[4,8] {0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}> () t = MatMul (x, w1) },
        else_branch = otherwise () => (e) { e0 = Concat <axis=1> (x, x) e = Relu (e0) }
    >
"""


def test_both_branches_are_costed_and_give_a_range() -> None:
    model = parsed(f"m (bool c, float[2,4] x) => (y) {{ {BRANCHES} }}")
    graph = loaded(model)
    assert graph.tensors["y"].shape == (2, 8)
    ways = {op.op_type: [branch for _, branch in op.execution.branches] for op in graph}
    assert ways == {"onnx:MatMul": [0], "onnx:Concat": [1], "onnx:Relu": [1], "onnx:If": []}
    assert "branches" in notes(graph)
    # then: 2·4·8 = 64 multiply-accumulates; else: none
    assert costed(model).bounds(mac_count) == (0, 64)


def test_a_condition_that_is_known_takes_its_branch() -> None:
    for value, expected in ((1, 64), (0, 0)):
        model = parsed(f"m (float[2,4] x) => (y) {{ c = Constant <value = bool {{{value}}}> () {BRANCHES} }}")
        graph = loaded(model)
        assert macs(model) == expected
        assert "constant_condition" in notes(graph)
        assert not any(op.execution.branches for op in graph)
        assert graph.tensors["y"].shape == (2, 8)


def test_a_condition_on_shapes_is_known() -> None:
    text = f"""m (float[2,4] x) => (y) {{
        s = Shape (x)
        i = Constant <value_int=0> ()
        n = Gather (s, i)
        two = Constant <value_int=2> ()
        c = Equal (n, two)
        {BRANCHES}
    }}"""
    assert macs(parsed(text)) == 64
    assert macs(parsed(text), "3x4") == 0


def test_a_net_wholly_inside_an_if() -> None:
    text = """m (bool c, float[1,3,6,6] x) => (y) {
        y = If (c) <
            then_branch = a () => (ya) {
                wa = Constant <value_float=0.0> ()
                sa = Constant <value_ints=[4,3,3,3]> ()
                ka = Expand (wa, sa)
                ca = Conv (x, ka)
                ya = Relu (ca)
            },
            else_branch = b () => (yb) {
                wa = Constant <value_float=0.0> ()
                sb = Constant <value_ints=[4,3,3,3]> ()
                kb = Expand (wa, sb)
                cb = Conv <strides=[2,2], pads=[1,1,1,1]> (x, kb)
                yb = Relu (cb)
            }
        >
    }"""
    graph = loaded(parsed(text))
    # 4·4·4·27 = 1728 against 4·3·3·27 = 972; the results' sizes differ, so theirs stay open
    assert costed(parsed(text)).bounds(mac_count) == (972, 1728)
    assert graph.tensors["y"].shape is None
    assert len({op.name for op in graph}) == len(graph)


def test_ifs_in_ifs() -> None:
    inner = """If (d) <
        then_branch = p () => (p0) { p0 = MatMul (x, x) },
        else_branch = q () => (q0) { q1 = MatMul (x, x) q0 = MatMul (q1, x) }
    >"""
    text = f"""m (bool c, bool d, float[3,3] x) => (y) {{
        y = If (c) <
            then_branch = a () => (a0) {{ a0 = {inner} }},
            else_branch = b () => (b0) {{ b0 = Relu (x) }}
        >
    }}"""
    found = costed(parsed(text))
    # inside: 27 or 54; outside: that or nothing
    assert found.bounds(mac_count) == (0, 54)
    depths = {len(op.execution.branches) for op in loaded(parsed(text))}
    assert depths == {0, 1, 2}


def loop(limit: str, condition: str, body_condition: str = "go = Identity (go_in)") -> bytes:
    return parsed(
        f"""m (int64 n, bool c, float[3,3] x) => (y, ys) {{
            ten = Constant <value_int=10> ()
            true = Constant <value = bool {{1}}> ()
            false = Constant <value = bool {{0}}> ()
            y, ys = Loop ({limit}, {condition}, x) <
                body = b (int64 i, bool go_in, float[3,3] h) => (go, h2, out) {{
                    {body_condition}
                    h2 = MatMul (h, x)
                    out = Relu (h2)
                }}
            >
        }}"""
    )


def test_a_loop_with_a_known_trip_count() -> None:
    for condition in ("true", ""):
        model = loop("ten", condition)
        graph = loaded(model)
        assert macs(model) == 10 * 27
        assert graph.tensors["y"].shape == (3, 3)
        assert graph.tensors["ys"].shape == (10, 3, 3)
        product = next(op for op in graph if op.op_type == "onnx:MatMul")
        assert product.execution == Execution(repeat=10)
        assert "unbounded_loop" not in notes(graph)


def test_a_loop_that_nobody_knows_how_often_is_counted_once_and_said() -> None:
    for limit, condition, inner in (
        ("n", "true", "go = Identity (go_in)"),
        ("ten", "c", "go = Identity (go_in)"),
        ("ten", "true", "go = Not (c)"),
        ("", "true", "go = Identity (go_in)"),
    ):
        model = loop(limit, condition, inner)
        graph = loaded(model)
        assert costed(model).macs == 27
        product = next(op for op in graph if op.op_type == "onnx:MatMul")
        assert product.execution == Execution(repeat=1, bounded=False)
        assert "unbounded_loop" in notes(graph)


def test_loops_that_never_run_and_that_stop_at_once() -> None:
    assert macs(loop("ten", "false")) == 0
    assert loaded(loop("ten", "false")).tensors["ys"].shape == (0, 3, 3)
    assert macs(loop("ten", "true", "go = Not (go_in)")) == 27


def test_a_while_loop_over_a_counter_is_stepped_through() -> None:
    text = """m (float[3,3] x) => (y) {
        zero = Constant <value_int=0> ()
        seven = Constant <value_int=7> ()
        two = Constant <value_int=2> ()
        true = Constant <value = bool {1}> ()
        last, y = Loop (, true, zero, x) <
            body = b (int64 i, bool go_in, int64 k, float[3,3] h) => (go, k2, h2) {
                k2 = Add (k, two)
                go = Less (k2, seven)
                h2 = MatMul (h, x)
            }
        >
    }"""
    # k = 2, 4, 6, 8: the fourth iteration ends it
    assert macs(parsed(text)) == 4 * 27


def test_loops_in_loops_multiply() -> None:
    text = """m (float[3,3] x) => (y) {
        ten = Constant <value_int=10> ()
        four = Constant <value_int=4> ()
        y = Loop (ten, , x) <
            body = outer (int64 i, bool a, float[3,3] h) => (ago, h3) {
                ago = Identity (a)
                h1 = MatMul (h, x)
                h3 = Loop (four, , h1) <
                    body = inner (int64 j, bool b, float[3,3] g) => (bgo, g2) {
                        bgo = Identity (b)
                        g2 = MatMul (g, x)
                    }
                >
            }
        >
    }"""
    # 10 · (27 + 4·27)
    assert macs(parsed(text)) == 1350


def test_a_carried_value_that_grows_has_that_size_open() -> None:
    text = """m (float[1,4] x) => (y) {
        ten = Constant <value_int=10> ()
        y = Loop (ten, , x) <
            body = b (int64 i, bool go_in, h) => (go, h2) {
                go = Identity (go_in)
                h2 = Concat <axis=0> (h, x)
            }
        >
    }"""
    assert loaded(parsed(text)).tensors["y"].shape is None


def test_scan_runs_once_per_position() -> None:
    text = """m (float[2,3] h0, float[5,2,4] xs) => (h, ys) {
        h, ys = Scan (h0, xs) <
            num_scan_inputs=1, body = b (float[2,3] a, float[2,4] x) => (a2, y) {
                c = Concat <axis=1> (a, x)
                w = Constant <value_float=0.0> ()
                s = Constant <value_ints=[7,3]> ()
                k = Expand (w, s)
                a2 = MatMul (c, k)
                y = Relu (a2)
            }
        >
    }"""
    graph = loaded(parsed(text))
    assert macs(parsed(text)) == 5 * 2 * 7 * 3
    assert graph.tensors["h"].shape == (2, 3)
    assert graph.tensors["ys"].shape == (5, 2, 3)


def test_scan_along_other_axes() -> None:
    text = """m (float[2,5,4] xs) => (ys) {
        ys = Scan (xs) <
            num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[-1], body = b (float[2,4] x) => (y) { y = Relu (x) }
        >
    }"""
    assert loaded(parsed(text)).tensors["ys"].shape == (2, 4, 5)


def test_sequence_map_runs_once_per_element() -> None:
    text = """m (float[3,3] a, float[3,3] b) => (y) {
        s = SequenceConstruct (a, b)
        r = SequenceMap (s) <
            body = f (float[3,3] e) => (m) { m = MatMul (e, e) }
        >
        zero = Constant <value_int=0> ()
        y = SequenceAt (r, zero)
    }"""
    graph = loaded(parsed(text))
    assert macs(parsed(text)) == 2 * 27
    assert graph.tensors["y"].shape == (3, 3)


# -- functions -----------------------------------------------------------------------------------------------------


def test_functions_in_functions_are_inlined() -> None:
    text = """m (float[2,4] x) => (y) { y = local.outer (x) }
    <domain: "local", opset_import: ["" : 18, "local" : 1]>
    outer (a) => (d) { b = local.inner <axis = 1> (a) c = Relu (b) d = local.inner <axis = 0> (c) }
    <domain: "local", opset_import: ["" : 18]>
    inner <axis> (a) => (b) { t = Relu (a) b = Concat <axis: int = @axis> (t, a) }
    """
    graph = loaded(parsed(text))
    assert [op.op_type for op in graph] == [f"onnx:{name}" for name in ("Relu", "Concat", "Relu", "Relu", "Concat")]
    assert graph.tensors["y"].shape == (4, 8)
    assert len({op.name for op in graph}) == 5


def test_a_functions_defaults_and_subgraphs_take_attributes() -> None:
    text = """m (bool c, float[2,4] x) => (y, z) { y = local.f (c, x) z = local.f <axis = 0> (c, x) }
    <domain: "local", opset_import: ["" : 18]>
    f <axis: int = 1> (c, a) => (b) {
        b = If (c) <
            then_branch = t () => (u) { u = Concat <axis: int = @axis> (a, a) },
            else_branch = e () => (v) { w = Relu (a) v = Concat <axis: int = @axis> (w, w) }
        >
    }
    """
    graph = loaded(parsed(text))
    assert graph.tensors["y"].shape == (2, 8)
    assert graph.tensors["z"].shape == (4, 4)


def test_a_call_gives_its_operators_their_scope() -> None:
    text = """m (float[2,4] x) => (y) { [block1] y = local.f (x) }
    <domain: "local", opset_import: ["" : 18]>
    f (a) => (b) { [act] b = Relu (a) }
    """
    op = loaded(parsed(text)).ops[0]
    assert (op.name, op.scope) == ("block1/act", "block1")


def test_a_function_that_calls_itself_is_an_error() -> None:
    text = """m (float[2] x) => (y) { y = local.f (x) }
    <domain: "local", opset_import: ["" : 18, "local" : 1]>
    f (a) => (b) { b = local.f (a) }
    """
    with pytest.raises(GraphError, match="'f' calls itself"):
        loaded(parsed(text))


def test_a_cascade_of_functions_is_refused_before_it_fills_the_memory() -> None:
    layers = "\n".join(
        f"""<domain: "local", opset_import: ["" : 18, "local" : 1]>
        f{i} (a) => (k) {{ {" ".join(f"{'bcdefghijk'[n]} = local.f{i + 1} ({'abcdefghij'[n]})" for n in range(10))} }}"""
        for i in range(12)
    )
    last = '<domain: "local", opset_import: ["" : 18]> f12 (a) => (k) { k = Relu (a) }'
    with pytest.raises(ModelError, match="unfold"):
        loaded(parsed(f"m (float[2] x) => (y) {{ y = local.f0 (x) }} {layers} {last}"))


def test_an_operator_that_the_table_knows_stays_one_even_if_the_file_defines_it() -> None:
    text = """m (float[2,4] x) => (y) { y = com.microsoft.FastGelu (x) }
    <domain: "com.microsoft", opset_import: ["" : 18]>
    FastGelu (a) => (b) { b = Tanh (a) }
    """
    graph = loaded(parsed(text))
    assert [op.op_type for op in graph] == ["com.microsoft:FastGelu"]
    assert graph.tensors["y"].shape == (2, 4)


def test_an_unmatched_body_is_a_one_line_error() -> None:
    text = """m (float[3] x) => (y) {
        y = Loop (, , x) <body = b (int64 i, bool c) => (c2) { c2 = Identity (c) }>
    }"""
    with pytest.raises(GraphError, match="expected 3 body inputs, got 2"):
        loaded(parsed(text))
