"""What the residual model is told of a kernel."""

from __future__ import annotations

from cnnprof.predict.kernels import Kernel, row_of


def test_a_linear_layer_has_rows_and_no_batch() -> None:
    tokens = Kernel(name="l", ops=("l",), cls="gemm", channels_in=96, channels_out=384, positions=49, batch=4)
    rows = Kernel(name="l", ops=("l",), cls="gemm", channels_in=96, channels_out=384, positions=196, batch=1)
    assert row_of(tokens) == row_of(rows)
