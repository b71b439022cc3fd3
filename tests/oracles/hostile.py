"""A model whose every name tries to be something else: markup, script, formula, control character."""

from __future__ import annotations

from graphs import Net

from cnnprof.ir import Graph

HOSTILE = "</script><img src=x onerror=alert(1)>"
NAMES = (
    HOSTILE,
    '=HYPERLINK("http://example.invalid","x")',
    "\"'><svg/onload=alert(2)>",
    "{{ 7 * 7 }}{% raw %}",
    "]]><!--\u202eleft\x00\x1b[31m",
    "§n0§key",
)


def hostile_graph() -> Graph:
    """A chain of convolutions over 1x3x32x20, one for each name; names also stand in the scopes."""
    net = Net(HOSTILE)
    source = net.input("in<b>put", (1, 3, 32, 20))
    shape: tuple[int, int, int, int] = (1, 3, 32, 20)
    for name in NAMES:
        source, shape = net.conv(source, shape, 4, name=name, scope=f"<i>scope</i>/{name.replace('/', '')}")
    source = net.op("unknown", (source,), shape, "<u>unknown", op_type="onnx:<blink>Evil</blink>", scope="<i>scope</i>")
    return net.build(source)
