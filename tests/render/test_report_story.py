"""The story's numbers, each worked out by hand from the layer sizes that the papers give."""

from __future__ import annotations

import pytest

from cnnprof.render.views.story import IdeaView, story

# idea -> variant -> metric -> value
EXPECTED: dict[str, dict[str, dict[str, float]]] = {
    # VGG-16's head: 7·7·512·4096 + 4096² + 4096·1000; pooled: 512·1000.
    "gap": {"head": {"macs": 123_633_664, "parameters": 123_633_664}, "pooled": {"macs": 512_000, "parameters": 512_000}},
    # 28²·64²·K² a layer.
    "stack": {
        "k5": {"macs": 80_281_600, "parameters": 102_400, "field": 5},
        "k33": {"macs": 57_802_752, "parameters": 73_728, "field": 5},
        "k7": {"macs": 157_351_936, "parameters": 200_704, "field": 7},
        "k333": {"macs": 86_704_128, "parameters": 110_592, "field": 7},
    },
    # 28²·25·192·32 against 28²·(192·16 + 25·16·32).
    "bottleneck": {
        "direct": {"macs": 120_422_400, "parameters": 153_600, "field": 5},
        "reduced": {"macs": 12_443_648, "parameters": 15_872, "field": 5},
    },
    # 17²·192²·49 against 17²·192²·14.
    "asymmetric": {
        "square": {"macs": 522_031_104, "parameters": 1_806_336, "field": 7},
        "pair": {"macs": 149_151_744, "parameters": 516_096, "field": 7},
    },
    # Two 3x3 of 64 maps at 56²; three ReLUs of 200,704; the shortcut adds 200,704 additions and keeps one more map of
    # 64·56²·4 = 802,816 B: input, ReLU's result and a convolution's in and out at most, 3 against 4 maps.
    "residual": {
        "plain": {"macs": 231_211_008, "parameters": 73_728, "flops": 463_024_128, "peak": 2_408_448},
        "shortcut": {"macs": 231_211_008, "parameters": 73_728, "flops": 463_224_832, "peak": 3_211_264},
    },
    # Four 3x3 of 64 maps at 64²: the field is 9 undilated, 31 at 1, 2, 4, 8. With pools: 64²·9·64² + 32²·9·64² +
    # 2·16²·9·64² + the transposed one's 16²·64²·64; four 3x3 and one 8x8.
    "dilated": {
        "undilated": {"macs": 603_979_776, "parameters": 147_456, "field": 9},
        "pooling": {"macs": 274_726_912, "parameters": 409_600},
        "dilations": {"macs": 603_979_776, "parameters": 147_456, "field": 31},
    },
    # SRCNN: 192²·(81·64 + 64·32 + 25·32); VDSR: 192²·(9·64 + 18·9·64² + 9·64); FSRCNN: 64²·(25·56 + 56·12 + 4·9·12²
    # + 12·56 + 81·56); ESPCN: 64²·(25·64 + 9·64·32 + 9·32·9).
    "subpixel": {
        "srcnn": {"macs": 296_091_648, "parameters": 8_032, "field": 13},
        "vdsr": {"macs": 24_503_648_256, "parameters": 664_704, "field": 41},
        "fsrcnn": {"macs": 51_052_544, "parameters": 12_464},
        "espcn": {"macs": 92_667_904, "parameters": 22_624, "field": 9},
    },
    # 56²·(256·64 + 9·64² + 64·256); 56²·(256·128 + 9·128²/g + 128·256).
    "grouped": {
        "resnet": {"macs": 218_365_952, "parameters": 69_632},
        "dense_wide": {"macs": 667_942_912, "parameters": 212_992},
        "resnext": {"macs": 219_971_584, "parameters": 70_144},
    },
    # 28²·9·256²; 28²·(9·256 + 256²).
    "separable": {"full": {"macs": 462_422_016, "parameters": 589_824}, "split": {"macs": 53_186_560, "parameters": 67_840}},
    # Bytes: input and output 256·28²·4 = 802,816 each, plus the weights' 4 B each; FLOPs are twice the MACs.
    "lost": {
        "full": {"macs": 462_422_016, "moved": 3_964_928, "intensity": 924_844_032 / 3_964_928},
        "pointwise": {"macs": 51_380_224, "moved": 1_867_776, "intensity": 102_760_448 / 1_867_776},
        "depthwise": {"macs": 1_806_336, "moved": 1_614_848, "intensity": 3_612_672 / 1_614_848},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def views() -> dict[str, IdeaView]:
    return {view.idea.key: view for view in story()}


def test_every_idea_is_worked_out(views: dict[str, IdeaView]) -> None:
    assert {key: {row.key for row in view.rows} for key, view in views.items()} == {
        key: set(variants) for key, variants in EXPECTED.items()
    }


@pytest.mark.parametrize("key", EXPECTED)
def test_numbers_are_those_worked_out_by_hand(views: dict[str, IdeaView], key: str) -> None:
    for row in views[key].rows:
        found = {cell.metric: cell.value for cell in row.cells}
        for metric, value in EXPECTED[key][row.key].items():
            assert found[metric] == pytest.approx(value, rel=1e-12), (row.key, metric)


def test_the_ratios_that_the_text_states(views: dict[str, IdeaView]) -> None:
    """1/256 + 1/9 for the separable one; 27/49 and 18/25 for the stacks; 2/7 for 1x7 + 7x1."""

    def ratio(idea: str, variant: str) -> float:
        return next(row for row in views[idea].rows if row.key == variant).cells[0].ratio

    assert ratio("separable", "split") == pytest.approx(1 / 256 + 1 / 9)
    assert ratio("stack", "k33") == pytest.approx(18 / 25)
    assert ratio("stack", "k333") == pytest.approx(27 / 49)
    assert ratio("asymmetric", "pair") == pytest.approx(2 / 7)
    assert round(ratio("bottleneck", "reduced"), 2) == 0.1
    depthwise = next(row for row in views["lost"].rows if row.key == "depthwise")
    shares = {cell.metric: cell.ratio for cell in depthwise.cells}
    assert round(100 * shares["macs"], 1) == 0.4 and round(100 * shares["moved"]) == 41
