"""The zoo: every entry builds, traces and counts; exact published figures are met to the last digit."""

import pytest

from cnnprof.analyses.complexity import complexity
from cnnprof.errors import UsageError
from cnnprof.zoo.catalogue import FAMILIES, entries, entry
from cnnprof.zoo.entry import Entry
from cnnprof.zoo.load import build, load_zoo

ALL = entries()


def test_there_are_enough_and_every_entry_is_told_whole() -> None:
    assert len(ALL) >= 60
    assert {row.family for row in ALL} == set(FAMILIES)
    for row in ALL:
        assert 1986 <= row.year <= 2026, row.name
        assert row.link.startswith("http"), row.name
        assert row.idea.endswith("."), row.name
        assert row.authors, row.name
        for fact in row.published:
            assert fact.source, row.name


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"zoo:lenet: no such network in the zoo; did you mean lenet5"):
        entry("lenet")


# What the papers and reference implementations give to the last digit, with the working where it is short.
EXACT_PARAMETERS = {
    "lenet5": 60_000,  # LeCun et al. 1998, sec. II.B: 156 + 12 + 1,516 + 32 + 48,120 + 10,164
    "alexnet-grouped": 60_965_224,  # BVLC Caffe reference model
    "inception-v1": 6_998_552,  # BVLC bvlc_googlenet, inference part
    "inception-v4": 42_679_816,  # pytorch-image-models' results table, 42.68 M
    "inception-resnet-v2": 55_843_464,  # the same, 55.84 M
    "xception": 22_855_952,  # Chollet 2016, Table 3
    "se_resnet50": 28_088_024,  # pytorch-image-models, seresnet50
    "openface-nn4-small2": 3_733_968,  # OpenFace, docs/models-and-accuracies.md
    "facenet-nn2": 7_472_144,  # the same
    "dcgan-generator": 3_576_704,  # PyTorch's DCGAN tutorial
    "dcgan-discriminator": 2_765_568,
    "squeezenet1_0": 1_248_424,  # Iandola et al. 2016, Table 1, sum of its rows
    "vdsr": 664_704,  # 576 + 18·36,864 + 576
    "mobilenet_v1": 4_231_976,  # TF-slim's 4.24 M
    # 784·w + w + (d−1)(w² + w) + 10w + 10 with w = 100, d = 5
    "mlp-relu-5": 78_400 + 100 + 4 * 10_100 + 1_010,
    # 784·50 + 50, 49 layers of 2 or 1 × (2,500 + 50), 10·50 + 10
    "mlp-highway-50": 39_250 + 49 * 2 * 2_550 + 510,
    "mlp-residual-50": 39_250 + 49 * 2_550 + 510,
    "nielsen-fc": 784 * 100 + 100 + 1_010,
    "nielsen-conv1": 520 + 2_880 * 100 + 100 + 1_010,
    "mtcnn-pnet": 6_632,
    "mtcnn-rnet": 100_178,
    "mtcnn-onet": 389_040,
}

# Weights without biases and PReLU slopes, as the super-resolution papers count.
EXACT_WEIGHTS = {
    "srcnn": 8_032,  # 81·64 + 64·32 + 25·32
    "srcnn-955": 57_184,
    "fsrcnn": 12_464,
    "fsrcnn-s": 3_937,
    "vdsr": 664_704,
}

# MACs by hand or from the papers' exact tables.
EXACT_MACS = {
    # LeNet-5's convolutions and dense layers: 28²·6·25 + 10²·60·25 (60 connections of Table I) + 120·400 + 84·120
    "lenet5": 117_600 + 150_000 + 48_000 + 10_080,
    "openface-nn4-small2": 203_773_952,  # derived layer by layer from OpenFace's definition
    "mlp-relu-5": 78_400 + 4 * 10_000 + 1_000,
    "srcnn-955": 57_184 * 1280 * 720,
    "vdsr": 664_704 * 1280 * 720,  # CARN, Table 1: 612.6 G
    # four transposed convolutions, input side: 16·(100·512·1 + 512·256·16 + 256·128·64 + 128·64·256 + 64·3·1024)
    "dcgan-generator": 16 * (51_200 + 2_097_152 + 2_097_152 + 2_097_152 + 196_608),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT_PARAMETERS)
def test_parameters_to_the_last_digit(name: str) -> None:
    assert complexity(load_zoo(f"zoo:{name}")).parameters == EXACT_PARAMETERS[name]


@pytest.mark.parametrize("name", EXACT_WEIGHTS)
def test_weights_without_biases(name: str) -> None:
    assert sum(p.numel() for p in build(name).parameters() if p.dim() > 1) == EXACT_WEIGHTS[name]


@pytest.mark.parametrize("name", EXACT_MACS)
def test_macs_to_the_last_digit(name: str) -> None:
    assert complexity(load_zoo(f"zoo:{name}")).macs == EXACT_MACS[name]


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
def test_every_entry_counts_completely_and_near_what_was_published(row: Entry) -> None:
    costs = complexity(load_zoo(f"zoo:{row.name}"))
    assert costs.unknown == ()
    assert costs.parameters == sum(p.numel() for p in build(row.name).parameters())
    for fact in row.published:
        if fact.metric == "parameters":
            assert costs.parameters == fact.value if fact.exact else abs(costs.parameters / fact.value - 1) < 0.05
        if fact.metric == "macs" and not row.difference:
            # papers round to two digits, torchvision to a million
            assert abs(costs.macs / fact.value - 1) < 0.06


def test_a_pipeline_costs_its_stages_times_their_calls() -> None:
    whole = complexity(load_zoo("zoo:face-pipeline")).macs
    scales = ("1x3x480x640", "1x3x340x454", "1x3x241x322")
    from cnnprof.frontends.inputs import parse_inputs

    stages = sum(complexity(load_zoo("zoo:mtcnn-pnet", inputs=parse_inputs([s]))).macs for s in scales)
    stages += 100 * complexity(load_zoo("zoo:mtcnn-rnet")).macs
    stages += 20 * complexity(load_zoo("zoo:mtcnn-onet")).macs
    stages += 2 * (complexity(load_zoo("zoo:openface-nn4-small2")).macs + 128 * 100)
    assert whole == stages


def test_lenet5_sees_what_its_paper_draws() -> None:
    """Kernels 5, 2/2, 5, 2/2, 5: fields 5, 5+1 = 6, 6+4·2 = 14, 14+2 = 16, 16+4·4 = 32, the whole input (C5)."""
    from cnnprof.api import analyze

    fields = {layer.name: layer.data.get("receptive_field") for layer in analyze("zoo:lenet5").layers}
    wanted = {"c1/conv": 5, "s2/average_pool": 6, "c3/maps/0/conv": 14, "c3/maps/15/conv": 14, "s4/average_pool": 16,
              "c5/conv": 32}  # fmt: skip
    assert {name: fields[name]["size"] for name in wanted} == {name: [side, side] for name, side in wanted.items()}
