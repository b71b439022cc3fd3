"""The planned arena over torchvision's classification models (traced on meta tensors; slow)."""

from __future__ import annotations

import pytest

torchvision = pytest.importorskip("torchvision")

NAMES = torchvision.models.list_models(module=torchvision.models)


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_arena_is_within_10_percent_of_its_bound(name, training):
    from cnnprof.analyses.memory import memory
    from cnnprof.frontends.inputs import InputSpec
    from cnnprof.frontends.torch.references import load_reference

    side = 299 if name == "inception_v3" else 224
    inputs = (InputSpec((2 if training else 1, 3, side, side)),)
    graph = load_reference(
        f"torchvision:{name}", inputs=inputs, training=training, optimizer="sgd" if training else None
    )
    arena = memory(graph, advise=False).arena
    assert arena.lower_bound_bytes <= arena.nbytes <= 1.1 * arena.lower_bound_bytes
