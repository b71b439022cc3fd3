"""timm: one CNN of every family in the default run, all models in the slow one. Parameters are always exact."""

from __future__ import annotations

import warnings

import pytest
import torch

from cnnprof.analyses.complexity import complexity
from cnnprof.errors import CnnprofError
from cnnprof.frontends.torch.references import load_reference

timm = pytest.importorskip("timm")

# The smallest default of each CNN family that timm has.
FAMILIES = (
    "bat_resnext26ts", "botnet26t_256", "convnext_atto", "convnextv2_atto", "cs3darknet_s", "cspresnet50",
    "darknet17", "densenet121", "dla34", "dpn48b", "edgenext_xx_small", "efficientnet_lite0", "efficientnetv2_rw_t",
    "ese_vovnet19b_slim", "fbnetc_100", "fastvit_t8", "focalnet_tiny_srf", "gernet_s", "ghostnet_050",
    "hardcorenas_a", "hgnetv2_b0", "hrnet_w18_small", "inception_next_atto", "inception_resnet_v2", "inception_v4",
    "inceptionv4" if timm.is_model("inceptionv4") else "inception_v3", "lcnet_035", "legacy_senet154", "mixnet_s",
    "mnasnet_small", "mobilenetv1_100", "mobilenetv2_035", "mobilenetv3_small_050", "mobilenetv4_conv_small",
    "mobileone_s0", "nasnetalarge", "nf_resnet26", "nfnet_f0", "pnasnet5large", "regnetx_002", "regnety_002",
    "repghostnet_050", "repvgg_a0", "res2net50_14w_8s", "resnest14d", "resnet10t", "resnetv2_50", "resnext26ts",
    "rexnet_100", "selecsls42", "seresnet18" if timm.is_model("seresnet18") else "seresnext26d_32x4d", "skresnet18",
    "spnasnet_100", "starnet_s1", "tinynet_e", "tresnet_m", "vgg11", "wide_resnet50_2", "xception41", "rdnet_tiny",
)  # fmt: skip


def exact_parameters(name: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                return sum(p.numel() for p in timm.create_model(name).parameters())
        except Exception:  # a few read values while they are built
            return sum(p.numel() for p in timm.create_model(name).parameters())


@pytest.mark.parametrize("name", [name for name in FAMILIES if timm.is_model(name)])
def test_family(name: str) -> None:
    found = complexity(load_reference(f"timm:{name}"))
    assert found.complete, found.unknown
    assert found.macs > 0
    assert found.parameters == exact_parameters(name)


@pytest.mark.slow
def test_all_of_timm(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints every failure and every operator without a cost before it fails."""
    failures: list[str] = []
    uncounted: dict[str, str] = {}
    names = timm.list_models()
    for name in names:
        try:
            found = complexity(load_reference(f"timm:{name}"))
        except CnnprofError as error:
            failures.append(f"{name}: {error}")
            continue
        if found.parameters != exact_parameters(name):
            failures.append(f"{name}: {found.parameters} parameters, expected {exact_parameters(name)}")
        for group in found.unknown:
            uncounted.setdefault(group.op_type, name)
    with capsys.disabled():
        print(f"\ntimm: {len(names)} models, {len(failures)} failures")
        print(*failures, *(f"{op}: no cost (first in {name})" for op, name in uncounted.items()), sep="\n")
    assert not failures
    assert not uncounted
