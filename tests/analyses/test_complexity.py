"""Complexity over graphs: shared weights, weights passed on, branches, loops, views, unknown operators."""

from operator import attrgetter

from graphs import Net, chain, diamond, shared_weight

from cnnprof.analyses.complexity import complexity
from cnnprof.ir import Execution, Role

MACS = attrgetter("macs")


def test_chain_by_hand() -> None:
    costs = complexity(chain())
    # a: 8 maps of 32x20, 3·3·3 each: 8·640·27 = 138,240; b: 16 maps of 16x10, 8·3·3: 16·160·72 = 184,320
    assert [row.macs for row in costs.rows] == [138_240, 184_320]
    assert costs.macs == 322_560
    # a bias is one addition an output: 8·640 + 16·160
    assert costs.flops == 2 * 322_560 + 5_120 + 2_560
    assert [row.parameters for row in costs.rows] == [8 * 27 + 8, 16 * 72 + 16]
    assert costs.parameters == 1_392
    assert costs.parameter_bytes == 5_568
    assert costs.activation_elements == 5_120 + 2_560
    assert costs.activation_bytes == 4 * (5_120 + 2_560)
    # a reads x (1,920) and its weights (224), writes 5,120; b reads that and 1,168 weights, writes 2,560
    assert costs.bytes_read == 4 * (1_920 + 224 + 5_120 + 1_168)
    assert costs.bytes_written == 4 * (5_120 + 2_560)
    assert costs.complete
    assert costs.bounds(MACS) == (322_560, 322_560)


def test_formulas_name_and_number_the_layer() -> None:
    rows = complexity(chain()).by_name
    assert rows["a"].formula is not None
    assert rows["a"].formula.symbols == "O(M_1·M_2·K²·C_in·C_out)"
    assert rows["a"].formula.numbers == "32·20·3·3·3·8"


def test_a_shared_weight_counts_once_where_it_is_first_used() -> None:
    costs = complexity(shared_weight())
    assert [row.parameters for row in costs.rows] == [4 * 4 * 9, 0]
    assert costs.parameters == 144
    assert costs.macs == 2 * 4 * 30 * 36


def test_weights_that_pass_through_ops_belong_to_the_layer_they_reach() -> None:
    net = Net()
    x = net.input("x", (1, 3, 8, 6))
    raw = net.weight("raw", (3, 3, 4, 3))
    turned = net.op("transpose", (raw,), (4, 3, 3, 3), "turn", perm=(2, 3, 0, 1))
    out, _ = net.conv(x, (1, 3, 8, 6), 4, bias=False, weight=turned, name="conv")
    rows = complexity(net.build(out)).by_name
    assert rows["turn"].parameters == 0
    assert rows["conv"].parameters == 108


def test_unused_parameters_still_count_in_the_total() -> None:
    net = Net()
    x = net.input("x", (1, 3, 8, 6))
    net.weight("idle", (7, 5))
    net.weight("stat", (3,), Role.BUFFER)
    out, _ = net.conv(x, (1, 3, 8, 6), 4, bias=False, name="conv")
    costs = complexity(net.build(out))
    assert costs.parameters == 4 * 27 + 35
    assert costs.unattributed_parameters == 35
    assert costs.buffers == 3


def test_an_unknown_operator_is_unknown_not_zero() -> None:
    net = Net()
    x = net.input("x", (1, 3, 8, 6))
    a, shape = net.conv(x, (1, 3, 8, 6), 4, name="conv")
    out = net.op("unknown", (a,), shape, "mystery", op_type="com.acme:Whirl")
    costs = complexity(net.build(out))
    row = costs.by_name["mystery"]
    assert row.work is None
    assert row.reason == "no cost rule for com.acme:Whirl"
    assert not costs.complete
    assert [(g.op_type, g.count, g.layers) for g in costs.unknown] == [("com.acme:Whirl", 1, ("mystery",))]
    assert costs.bounds(MACS) == (4 * 48 * 27, None)
    assert (costs.counted, costs.zero_by_definition) == (1, 0)


def test_a_layer_of_unknown_shape_says_so() -> None:
    net = Net()
    x = net.input("x", (1, 3, 8, 6))
    mystery = net.op("unknown", (x,), None, "mystery")
    weight = net.weight("w", (4, 3, 3, 3))
    out = net.op(
        "conv", (mystery, weight), None, "conv", kernel=(3, 3), stride=(1, 1), dilation=(1, 1),
        padding=((0, 0), (0, 0)), groups=1,
    )  # fmt: skip
    row = complexity(net.build(out)).by_name["conv"]
    assert row.unknown
    assert row.reason == "shape of 'conv:0' is unknown"
    assert row.bytes_read is None
    assert row.parameters == 108


def _branching(else_too: bool) -> Net:
    """if: then 4 maps (4·48·27 = 5,184 MACs); else 1 map (1,296) followed by a nested if of 2 maps (2,592)."""
    net = Net()
    x = net.input("x", (1, 3, 8, 6))
    shape = (1, 3, 8, 6)
    net.conv(x, shape, 4, name="then", execution=Execution(branches=(("if", 0),)))
    if else_too:
        net.conv(x, shape, 1, name="else", execution=Execution(branches=(("if", 1),)))
        net.conv(x, shape, 2, name="inner", execution=Execution(branches=(("if", 1), ("if2", 0))))
    return net


def test_branches_give_a_range() -> None:
    costs = complexity(_branching(else_too=True).build("x"))
    # else: 1,296 and the inner if, which may also run nothing: 1,296 … 3,888; then: 5,184
    assert costs.bounds(MACS) == (1_296, 5_184)
    assert costs.macs == 5_184
    alone = complexity(_branching(else_too=False).build("x"))
    assert alone.bounds(MACS) == (0, 5_184)


def test_a_loop_multiplies_its_body() -> None:
    net = Net()
    x = net.input("x", (1, 3, 8, 6))
    net.conv(x, (1, 3, 8, 6), 4, name="body", execution=Execution(repeat=10))
    costs = complexity(net.build("x"))
    assert costs.macs == 10 * 5_184
    assert costs.parameters == 112
    net.conv(x, (1, 3, 8, 6), 4, name="open", execution=Execution(bounded=False))
    assert complexity(net.build("x")).bounds(MACS) == (11 * 5_184, None)


def test_views_move_nothing_and_in_place_ops_do() -> None:
    net = Net()
    x = net.input("x", (1, 3, 8, 6))
    flat = net.op("reshape", (x,), (1, 144), "view", storage="x")
    net.op("relu", (flat,), (1, 144), "act", storage="x", op_type="aten:relu_.default")
    rows = complexity(net.build("view:0")).by_name
    assert (rows["view"].bytes_read, rows["view"].bytes_written, rows["view"].activation_bytes) == (0, 0, 0)
    act = rows["act"]
    assert (act.bytes_read, act.bytes_written, act.activation_bytes) == (576, 576, 0)
    assert act.flops == 144


def test_one_tensor_read_twice_is_read_once() -> None:
    net = Net()
    x = net.input("x", (1, 2, 5, 3))
    rows = complexity(net.build(net.op("add", (x, x), (1, 2, 5, 3), "sum"))).rows
    assert rows[0].bytes_read == 120
    assert rows[0].flops == 30


def test_a_join_costs_one_addition_an_element() -> None:
    assert complexity(diamond()).by_name["join"].flops == 4 * 160
