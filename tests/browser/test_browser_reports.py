"""What a reader's browser makes of the reports: real Chromium, pages from disk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hostile import HOSTILE, NAMES

if TYPE_CHECKING:
    from conftest import Open

pytestmark = pytest.mark.browser

PAGES = (
    "index.html", "compare.html", "models/resnet18.html", "resnet18.html", "resnet18-zh.html", "hostile.html",
    "bare.html", "pair.html", "timed.html", "accuracy.html", "accuracy-zh.html", "accuracy-hostile.html", "accuracy-gpu.html",
)  # fmt: skip
SECTIONS = ("breakdown", "roofline", "memory", "receptive", "latency", "graph", "layers", "method")


@pytest.mark.parametrize("name", PAGES)
def test_no_message_no_request_no_sideways_scroll(open_page: Open, pages: Path, name: str) -> None:
    """At 1280 and at 360 pixels; a policy violation would be a console message."""
    for width in (1280, 360):
        shown = open_page(pages / name, width=width)
        page = shown.page
        for height in range(0, page.evaluate("document.documentElement.scrollHeight"), 800):
            page.evaluate(f"scrollTo(0, {height})")
        page.mouse.move(150, 300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.messages == []
        assert shown.requests == []
        assert page.evaluate("document.documentElement.classList.contains('js')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "name",
    ["index.html", "models/resnet18.html", "hostile.html", "bare.html", "pair.html", "timed.html", "accuracy.html",
     "accuracy-hostile.html", "accuracy-gpu.html"],
)  # fmt: skip
def test_no_accessibility_violation(open_page: Open, pages: Path, name: str, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    shown = open_page(pages / name, scheme=scheme)
    result = Axe().run(shown.page)
    found = [
        (rule["id"], rule["help"], [node["html"][:160] for node in rule["nodes"][:4]])
        for rule in result.response["violations"]
    ]
    assert found == []
    assert len(result.response["passes"]) > 15  # it did look


@pytest.mark.parametrize("name", ["models/resnet18.html", "resnet18.html"])
def test_everything_is_there_without_scripts(open_page: Open, pages: Path, name: str) -> None:
    page = open_page(pages / name, scripts=False).page
    for section in SECTIONS:
        assert page.locator(f"#{section}").is_visible()
    text = page.locator("main").inner_text()
    # ResNet-18's parameters as torchvision publishes them. Its convolutions take 1,813,561,344 MACs at 224x224 (7x7
    # at the end) and 30/49 of that at 192x160 (6x5): 1,110,343,680; its head takes 512,000 at any size.
    assert "11,689,512" in text
    assert "1,110,855,680 MACs" in text
    assert page.locator("#breakdown svg[aria-label]").count() == 4
    assert page.locator("#memory svg").count() >= 1
    assert page.locator("#receptive svg").count() == 2
    assert page.locator("#graph svg").count() >= 3
    # 20 convolutions, 20 norms, 17 activations, 8 joins, a pool, mean, flatten, linear: a row each.
    assert page.locator("#table tbody tr:not(.m)").count() == 69


@pytest.mark.parametrize(
    "name",
    ["compare.html", "resnet18.html", "resnet18-zh.html", "hostile.html", "pair.html", "timed.html", "accuracy.html",
     "accuracy-zh.html", "accuracy-hostile.html", "accuracy-gpu.html"],
)  # fmt: skip
def test_no_text_in_a_drawing_is_clipped_or_overlaps(open_page: Open, pages: Path, name: str) -> None:
    """Boxes of all texts of one drawing: inside its view box, and none over another."""
    page = open_page(pages / name).page
    found = page.evaluate(
        """() => {
          const bad = [];
          document.querySelectorAll('.panel').forEach(p => p.style.display = 'block');
          for (const svg of document.querySelectorAll('main svg')) {
            const all = Array.from(svg.querySelectorAll('text')).filter(t => t.textContent.trim());
            const frame = svg.viewBox.baseVal, boxes = [];
            for (const text of all) {
              const box = text.getBBox(), to = svg.getCTM().inverse().multiply(text.getCTM());
              const corners = [[box.x, box.y], [box.x + box.width, box.y + box.height]].map(([x, y]) => {
                const point = svg.createSVGPoint(); point.x = x; point.y = y; return point.matrixTransform(to); });
              const [a, b] = corners, name = text.textContent;
              if (a.x < frame.x - 1 || b.x > frame.x + frame.width + 1 || a.y < frame.y - 1 ||
                  b.y > frame.y + frame.height + 1) bad.push(['clipped', name, svg.getAttribute('aria-label')]);
              for (const other of boxes)
                if (a.x < other.b.x - 1 && other.a.x < b.x - 1 && a.y < other.b.y - 3 && other.a.y < b.y - 3)
                  bad.push(['overlap', name, other.name, svg.getAttribute('aria-label')]);
              boxes.push({a, b, name});
            }
          }
          return bad;
        }"""
    )
    assert found == []


def test_hostile_names_are_text(open_page: Open, pages: Path) -> None:
    for name in ("hostile.html", f"models/{_hostile_slug(pages)}", "pair.html", "index.html"):
        shown = open_page(pages / name)
        page = shown.page
        assert page.locator("img").count() == 0
        assert page.locator("main script, main b:has-text('Bold'), u, blink").count() == 0
        assert HOSTILE in page.locator("main").inner_text()
        assert shown.messages == []
    shown = open_page(pages / "accuracy-hostile.html")
    assert shown.page.locator("img, main script, u, blink").count() == 0
    assert (
        shown.page.locator("main").inner_text().count(HOSTILE) >= 6
    )  # device, networks, reason, failed and why, class
    assert shown.messages == []
    page = open_page(pages / "hostile.html").page
    labels = page.locator("#table tbody th").all_inner_texts()
    joined = "\n".join(labels)
    for name in NAMES[1:4]:
        assert name in joined or name.replace("/", "") in joined
    # Control and direction characters are shown, not obeyed.
    assert "\\u202e" in joined and "\\x00" in joined and "\\x1b" in joined


def _hostile_slug(pages: Path) -> str:
    return next(p.name for p in (pages / "models").iterdir() if "script" in p.name)


def test_prints_every_section_to_pdf(open_page: Open, pages: Path) -> None:
    """In print no section hides: fold the table, then look at what print media shows."""
    page = open_page(pages / "models/resnet18.html", scheme="dark").page
    page.emulate_media(media="print")
    for section in SECTIONS:
        assert page.locator(f"#{section}").is_visible()
    assert page.locator(".panel").evaluate_all("ps => ps.every(p => getComputedStyle(p).display === 'block')")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(255, 255, 255)"
    pdf = page.pdf(format="A4")
    assert pdf[:5] == b"%PDF-"
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 4


def test_keyboard_sorts_filters_folds_and_clears(open_page: Open, pages: Path) -> None:
    page = open_page(pages / "models/resnet18.html").page
    heads = page.locator("#table thead th")
    macs = heads.nth(3)
    macs.locator("button").focus()
    page.keyboard.press("Enter")
    assert macs.get_attribute("aria-sort") == "descending"
    tops = page.locator("#table tbody tr[data-d='0'] td:nth-child(4)").all_inner_texts()
    values = [_number(text) for text in tops]
    assert values == sorted(values, reverse=True) and len(values) > 5
    page.keyboard.press("Enter")
    assert macs.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert macs.get_attribute("aria-sort") is None
    assert page.locator("#table tbody tr").first.get_attribute("id") == "n0"

    every = page.locator("#table tbody tr:visible").count()
    page.locator("h1").click()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "filter"
    page.keyboard.type("downsample")
    rows = page.locator("#table tbody tr:visible")
    assert 0 < rows.count() < every
    assert rows.filter(has_text="downsample").count() == 3  # layer2, 3 and 4 have one each
    page.keyboard.press("Escape")
    assert page.locator("#table tbody tr:visible").count() == every

    page.locator("#m4 a").first.focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#table tbody tr:visible").count() < every
    page.keyboard.press("ArrowRight")
    assert page.locator("#table tbody tr:visible").count() == every


def _number(text: str) -> float:
    parts = text.split()
    scale = {"k": 1e3, "M": 1e6, "G": 1e9}
    return float(parts[0]) * scale[parts[1]] if len(parts) > 1 else float(parts[0]) if parts else -1.0


def test_a_deep_link_selects_everywhere_and_survives_a_reload(open_page: Open, pages: Path) -> None:
    page = open_page(pages / "models/resnet18.html").page
    mark = page.locator("#memory svg [data-k='n4']")
    mark.click()
    assert page.evaluate("location.hash") == "#n4"
    for _ in range(2):
        assert page.locator("#n4").evaluate("row => row.classList.contains('sel')")
        assert mark.evaluate("m => m.classList.contains('sel')")
        detail = page.locator("#detail")
        assert detail.is_visible()
        assert "conv 3×3" in detail.inner_text()
        page.reload()
    page.keyboard.press("Escape")
    assert page.evaluate("location.hash") == ""
    assert not page.locator("#detail").is_visible()


def test_a_deep_link_works_without_scripts(open_page: Open, pages: Path) -> None:
    page = open_page(pages / "models/resnet18.html", scripts=False, fragment="#n4").page
    assert page.locator("#n4:target").count() == 1


def test_theme_switch_is_kept_and_changes_the_charts(open_page: Open, pages: Path) -> None:
    page = open_page(pages / "models/resnet18.html", scheme="light").page
    fill = "getComputedStyle(document.querySelector('#breakdown figure svg path')).fill"
    before, light = page.evaluate("getComputedStyle(document.body).backgroundColor"), page.evaluate(fill)
    page.keyboard.press("t")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert page.evaluate(fill) != light
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_formula_shows_on_focus_without_scripts(open_page: Open, pages: Path) -> None:
    """conv1 of ResNet-18 at 192x160: M = 96x80, K = 7, 3 -> 64 channels."""
    page = open_page(pages / "models/resnet18.html", scripts=False).page
    cell = page.locator("#n0 .q")
    assert not cell.locator("i").is_visible()
    cell.focus()
    assert cell.locator("i").is_visible()
    assert cell.locator("i").inner_text() == "O(M_1·M_2·K²·C_in·C_out) = 96·80·7·7·3·64"


def test_missing_sections_say_how_to_get_them(open_page: Open, pages: Path) -> None:
    page = open_page(pages / "bare.html").page
    for section, command in (
        ("memory", "cnnprof report"), ("receptive", "cnnprof report"), ("roofline", "cnnprof predict"),
        ("latency", "cnnprof measure"),
    ):  # fmt: skip
        assert command in page.locator(f"#{section} pre").inner_text()


def test_the_index_leads_to_every_page(open_page: Open, pages: Path) -> None:
    page = open_page(pages / "index.html").page
    links = page.locator("#table tbody th a").evaluate_all("links => links.map(link => link.href)")
    assert len(links) == 3
    for link in [*links, (pages / "compare.html").as_uri()]:
        page.goto(link)
        assert page.locator("h1").is_visible()


ACCURACY = ("figures", "networks", "classes", "worst", "calibration", "models")


def test_the_accuracy_page_without_scripts_and_in_print(open_page: Open, pages: Path) -> None:
    page = open_page(pages / "accuracy.html", scripts=False, scheme="dark").page
    for section in ACCURACY:
        assert page.locator(f"#{section}").is_visible()
    text = page.locator("main").inner_text()
    assert "35 networks" in text and "degraded" in text and "the anchor workload drifted by 7%" in text
    assert page.locator("#networks svg[aria-label] [data-k]").count() == 2 * 35  # a point and an error each
    assert page.locator("#table tbody tr").count() == 40
    assert page.locator(".missed").count() >= 3 and page.locator(".met").count() >= 2
    page.emulate_media(media="print")
    for section in ACCURACY:
        assert page.locator(f"#{section}").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4")[:5] == b"%PDF-"


def test_a_point_of_the_accuracy_page_leads_to_its_row(open_page: Open, pages: Path) -> None:
    page = open_page(pages / "accuracy.html").page
    page.locator("#networks svg [data-k='c3']").first.click()
    assert page.evaluate("location.hash") == "#c3"
    assert page.locator("#c3").evaluate("row => row.classList.contains('sel')")
    assert page.locator("svg [data-k='c3'].sel").count() == 2
    page.keyboard.press("Escape")
    head = page.locator("#table thead th").nth(3)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    errors = page.locator("#table tbody td:nth-child(4)").all_inner_texts()
    sizes = [abs(float(text.replace("−", "-").split()[0])) for text in errors]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 25.0


def test_prediction_against_measurement_on_a_model_page(open_page: Open, pages: Path) -> None:
    page = open_page(pages / "timed.html", scripts=False).page
    latency = page.locator("#latency")
    assert latency.locator("svg [data-k]").count() == 69  # a point for every layer
    text = latency.inner_text()
    for phrase in (
        "lies in the predicted 90 % interval",
        "Dense convolution",
        "FLOPs/byte",
        "of what was measured",
        "degraded",
    ):
        assert phrase in text
    assert latency.locator("table.worst tbody tr").count() == 10
    assert page.locator("#roofline svg [data-k]").count() > 20
