"""Model references: libraries, import paths, files, archives; and everything that is wrong with one."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cnnprof.analyses.complexity import complexity
from cnnprof.errors import CnnprofError, DependencyError, ModelError, UsageError
from cnnprof.frontends.inputs import InputSpec, parse_inputs
from cnnprof.frontends.torch.references import load_module, load_reference
from cnnprof.frontends.torch.trace import trace

NETS = '''
import torch
from torch import nn

ready = nn.Conv2d(3, 4, 3)
number = 7

def make(width=4, bias=True):
    return nn.Sequential(nn.Conv2d(3, width, 3, bias=bias), nn.ReLU())

class Two(nn.Module):
    def forward(self, image, mask=None):
        return image if mask is None else image * mask

class Nested(nn.Module):
    def forward(self, batch, images):
        return {"sum": batch["a"] + batch["b"], "list": [i * 2 for i in images]}

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(100, 8)
    def forward(self, ids):
        return self.embed(ids)

class Looks(nn.Module):
    """Reads its input's values."""
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        if x.shape[1] != 4:
            raise ValueError("expected 4 features")
        keep = x[x[:, 0] >= 0]
        return self.fc(keep)

class Text(nn.Module):
    def forward(self, x):
        return "no tensor"

def raises():
    raise RuntimeError("no such backbone")

def not_a_module():
    return 42

def picky():
    """Can't be built on meta: reads values while building."""
    net = nn.Linear(4, 4)
    net.rates = [v.item() for v in torch.linspace(0, 1, 3)]
    return net
'''


@pytest.fixture
def nets(tmp_path: Path) -> str:
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return str(path)


def specs(*texts: str) -> tuple[InputSpec, ...]:
    return parse_inputs(texts)


def load(reference: str, *inputs: str, **options: object):  # type: ignore[no-untyped-def]
    return load_reference(reference, inputs=specs(*inputs), **options)  # type: ignore[arg-type]


def test_torchvision_at_its_own_input() -> None:
    graph = load("torchvision:squeezenet1_1")
    assert graph.tensors[graph.inputs[0]].shape == (1, 3, 224, 224)
    assert (graph.source.reference, graph.source.name, graph.source.format) == (
        "torchvision:squeezenet1_1", "squeezenet1_1", "torch",
    )  # fmt: skip
    # The SqueezeNet 1.1 of torchvision: 1,235,496 parameters, 349 million MACs (its weights' metadata: 0.349).
    found = complexity(graph)
    assert (found.parameters, round(found.macs / 1e9, 3)) == (1_235_496, 0.349)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("inception_v3", (1, 3, 299, 299)),  # preset crop
        ("r3d_18", (1, 3, 16, 112, 112)),  # 16 frames a clip
        ("lraspp_mobilenet_v3_large", (1, 3, 520, 520)),
        ("googlenet", (1, 3, 224, 224)),
    ],
)
def test_default_inputs_of_torchvision(name: str, shape: tuple[int, ...]) -> None:
    graph = load(f"torchvision:{name}")
    assert graph.tensors[graph.inputs[0]].shape == shape


def test_batch_and_kwargs() -> None:
    graph = load("torchvision:resnet18", batch=3, kwargs={"num_classes": 7})
    assert graph.tensors[graph.outputs[0]].shape == (3, 7)


def test_timm_at_its_own_input() -> None:
    graph = load("timm:resnet10t")
    assert graph.tensors[graph.inputs[0]].shape == (1, 3, 176, 176)


def test_factory_in_a_file(nets: str) -> None:
    graph = load(f"{nets}:make", "1x3x8x6", kwargs={"width": 5, "bias": False})
    assert [op.name for op in graph] == ["0/conv", "1/relu"]
    assert complexity(graph).macs == 5 * 6 * 4 * 27


def test_module_in_a_file(nets: str) -> None:
    assert complexity(load(f"{nets}:ready", "1x3x8x6")).parameters == 4 * 27 + 4


def test_factory_by_import_path() -> None:
    assert len(load("torch.nn:ReLU", "1x3")) == 1


def test_factory_that_computes_still_allocates_no_weights(nets: str) -> None:
    state = torch.get_rng_state()
    assert {p.device.type for p in load_module(f"{nets}:picky").module.parameters()} == {"meta"}
    assert complexity(load(f"{nets}:picky", "1x4")).macs == 16
    assert torch.equal(state, torch.get_rng_state())


def test_several_inputs_by_name_and_position(nets: str) -> None:
    graph = load(f"{nets}:Two", "mask=1x1x8x6", "image=1x3x8x6")
    assert sorted(graph.inputs) == ["image", "mask"]
    graph = load(f"{nets}:Two", "1x3x8x6", "1x1x8x6")
    assert graph.inputs == ("image", "mask")


def test_nested_inputs_and_outputs(nets: str) -> None:
    graph = load(f"{nets}:Nested", "batch.a=2x3", "batch.b=2x3", "images.0=4x5", "images.1=6x7")
    assert [graph.tensors[name].shape for name in graph.inputs] == [(2, 3), (2, 3), (4, 5), (6, 7)]
    assert [graph.tensors[name].shape for name in graph.outputs] == [(2, 3), (4, 5), (6, 7)]


def test_token_ids(nets: str) -> None:
    graph = load(f"{nets}:Tokens", "ids=int64:1x12:0..99")
    assert graph.tensors[graph.outputs[0]].shape == (1, 12, 8)


def test_python_arguments_may_be_tensors_shapes_and_structures() -> None:
    class Net(nn.Module):
        def forward(self, pair: tuple[torch.Tensor, torch.Tensor], scale: float = 1.0) -> torch.Tensor:
            return pair[0] * scale + pair[1]

    graph = trace(Net(), {"pair": (torch.ones(2, 3), (2, 3)), "scale": 2.0})
    assert [op.kind for op in graph] == ["mul", "add"]


# -- data-dependent models -------------------------------------------------------------------------------------


def test_data_dependent_models_run_for_real_and_say_why(nets: str) -> None:
    graph = load(f"{nets}:Looks", "5x4")
    # The inputs are random in [0, 1), so every row is kept.
    assert complexity(graph).macs == 5 * 16
    (note,) = [n for n in graph.notes if n.code == "fallback"]
    assert "a real run on the CPU" in note.message
    assert "meta tensors" in note.message
    assert "nonzero" in note.message


def test_constants_computed_in_forward_stay_known_on_meta() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            side = int(torch.tensor([2, 3]).sum().item())
            return x[:, :side]

    graph = trace(Net(), (1, 9))
    assert not graph.notes
    assert graph.tensors[graph.outputs[0]].shape == (1, 5)


# -- archives --------------------------------------------------------------------------------------------------


class Saved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(x).mean((2, 3)))


SAVED_MACS = 8 * 6 * 4 * 27 + 8 * 5


@pytest.mark.filterwarnings("ignore")
def test_export_archive(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(Saved().eval(), (torch.zeros(1, 3, 8, 6),)), path)
    graph = load(str(path))
    found = complexity(graph)
    assert (found.macs, found.parameters) == (SAVED_MACS, sum(p.numel() for p in Saved().parameters()))
    assert graph.source.format == "pt2"
    assert "stem/0" in {op.scope for op in graph}


@pytest.mark.filterwarnings("ignore")
def test_torchscript_archive(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.jit.script(Saved().eval()).save(str(path))
    found = complexity(load(str(path), "1x3x8x6"))
    assert (found.macs, found.parameters) == (SAVED_MACS, sum(p.numel() for p in Saved().parameters()))


# -- what is wrong ---------------------------------------------------------------------------------------------


def refused(error: type[CnnprofError], reference: str, *inputs: str, **options: object) -> str:
    with pytest.raises(error) as caught:
        load(reference, *inputs, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.hint
    return text


def test_wrong_factories(nets: str) -> None:
    assert "no such backbone" in refused(ModelError, f"{nets}:raises", "1x3")
    assert "expected a torch.nn.Module, got int" in refused(ModelError, f"{nets}:not_a_module", "1x3")
    assert "expected a callable" in refused(ModelError, f"{nets}:number", "1x3")
    assert "did you mean make" in refused(ModelError, f"{nets}:mak", "1x3")
    assert "unexpected keyword" in refused(ModelError, f"{nets}:make", "1x3", kwargs={"depth": 3})
    assert "no such file" in refused(ModelError, "nowhere.py:make", "1x3")
    assert "no module named 'nowhere'" in refused(ModelError, "nowhere.nets:make", "1x3")


def test_an_import_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("import no_such_package_at_all\n")
    assert "no_such_package_at_all" in refused(ModelError, f"{path}:make", "1x3")
    path.write_text("def (:\n")
    assert "SyntaxError" in refused(ModelError, f"{path}:make", "1x3")
    assert not [name for name in sys.modules if name.startswith("_cnnprof_model_bad")]


def test_wrong_inputs(nets: str) -> None:
    assert "--input 1x3x224x224" in refused(ModelError, f"{nets}:make")
    assert "expected 4 features" in refused(ModelError, f"{nets}:Looks", "5x3")
    text = refused(ModelError, f"{nets}:make", "1x4x8x6")
    assert "in 0: Conv2d(3, 4, kernel_size=(3, 3)" in text
    assert "shape doesn't fit" in text
    assert "int64:1x128" in refused(ModelError, f"{nets}:Tokens", "1x12")
    assert "image" in refused(ModelError, f"{nets}:Two", "picture=1x3x8x6")
    assert "forward takes" in refused(ModelError, f"{nets}:Two", "mask=1x1x8x6")
    assert "dtype" in refused(ModelError, f"{nets}:make", "float64:1x3x8x6")
    assert "got str" in refused(ModelError, f"{nets}:Text", "1x3")


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Linear(4, 4), (2, 4)),
        (lambda: nn.Conv2d(3, 4, 3, bias=False), (1, 3, 8, 8)),
        (lambda: nn.Conv2d(3, 4, 3), (1, 3, 8, 8)),
        (lambda: nn.ConvTranspose2d(3, 4, 3, bias=False), (1, 3, 8, 8)),
        (lambda: nn.BatchNorm2d(3), (1, 3, 8, 8)),
        (lambda: nn.LayerNorm(4), (2, 4)),
        (lambda: nn.GroupNorm(1, 3), (1, 3, 8, 8)),
        (lambda: nn.LSTM(4, 4), (5, 2, 4)),
        (lambda: nn.TransformerEncoderLayer(4, 2, 4), (5, 2, 4)),
    ],
)
def test_a_dtype_that_a_real_run_refuses_is_refused(make: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.ones(shape, dtype=dtype)
    with pytest.raises((RuntimeError, ValueError)):  # the oracle: torch itself
        make()(x)
    with pytest.raises(ModelError, match="dtype|type|not implemented"):
        trace(make(), (x,))


def test_mixed_precision_that_a_real_run_takes_is_taken() -> None:
    x = torch.ones(1, 3, 8, 8, dtype=torch.bfloat16)
    nn.BatchNorm2d(3).eval()(x)
    assert len(trace(nn.BatchNorm2d(3), (x,))) == 1

    class Autocast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return self.fc(self.fc(x))

    assert complexity(trace(Autocast(), (2, 4))).macs == 2 * 32


def test_unknown_names_offer_the_nearest() -> None:
    assert "resnet50" in refused(ModelError, "torchvision:resnet51")
    assert "convnext_tiny" in refused(ModelError, "timm:convnext_tinyy")


def test_missing_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "pip install timm" in refused(DependencyError, "timm:resnet10t")


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("a pickle was executed",))


def test_checkpoints_are_not_networks_and_never_run(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(Saved().state_dict(), path)
    text = refused(ModelError, str(path), "1x3x8x6")
    assert "state dict" in text
    assert "package.module:callable" in text
    torch.save(Saved(), path)
    assert "running code" in refused(ModelError, str(path), "1x3x8x6")
    path.write_bytes(pickle.dumps(Bomb()))
    refused(ModelError, str(path), "1x3x8x6")
    for content in (b"", b"PK\x03\x04", b"not a checkpoint at all", bytes(range(256)) * 40):
        path.write_bytes(content)
        refused(ModelError, str(path), "1x3x8x6")
        (tmp_path / "net.pt2").write_bytes(content)
        refused(ModelError, str(tmp_path / "net.pt2"), "1x3x8x6")
    refused(ModelError, str(tmp_path / "missing.pt2"), "1x3")


def test_training_needs_something_to_train(nets: str) -> None:
    assert "requires_grad" in refused(ModelError, f"{nets}:Two", "1x3x8x6", training=True)
    with pytest.raises(UsageError, match="adamx"):
        trace(nn.Linear(3, 3), (1, 3), training=True, optimizer="adamx")
    with pytest.raises(UsageError, match="--training"):
        trace(nn.Linear(3, 3), (1, 3), optimizer="sgd")


def test_something_that_is_no_module() -> None:
    with pytest.raises(ModelError, match="got function"):
        trace(lambda x: x, (1, 3))  # type: ignore[arg-type]
