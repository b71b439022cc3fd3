"""Pages as text: pure, escaped, small, honest about what's missing; sites and files on disk."""

from __future__ import annotations

import csv
import io
import json
import re
import string
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from graphs import Net, chain, diamond
from hostile import HOSTILE, NAMES, hostile_graph

from cnnprof.api import profile_graph
from cnnprof.profile import Profile
from cnnprof.render.assets import POLICY_SITE, policy_single, script, style, templates_folder
from cnnprof.render.compare_html import compare_page
from cnnprof.render.compare_text import compare_text
from cnnprof.render.gallery import stale
from cnnprof.render.html import model_page
from cnnprof.render.i18n import LANGUAGES, catalogue
from cnnprof.render.site import models_of, site
from cnnprof.render.story_html import story_page
from cnnprof.render.views.compare import Subject, compare_rows

Run = Callable[..., CompletedProcess[str]]
VOID = {"meta", "link", "input", "img", "br", "hr"}


class Page(HTMLParser):
    """Collects tags, attributes, ids and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._in = tag
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self._in not in ("style", "script"):
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]


def long_profile(blocks: int) -> Profile:
    """``blocks`` residual blocks of four layers each, in modules of twenty blocks."""
    net = Net("long")
    x, shape = net.input("x", (1, 8, 24, 16)), (1, 8, 24, 16)
    for i in range(blocks):
        scope = f"stage{i // 20}/{i % 20}"
        a, _ = net.conv(x, shape, 8, name=f"{scope}/conv1", scope=f"{scope}/conv1")
        a = net.op("relu", (a,), shape, f"{scope}/relu", scope=f"{scope}/relu")
        b, _ = net.conv(a, shape, 8, name=f"{scope}/conv2", scope=f"{scope}/conv2")
        x = net.op("add", (b, x), shape, f"{scope}/add", scope=scope)
    return profile_graph(net.build(x))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_page_is_a_pure_function_of_the_saved_profile(lang: str) -> None:
    profile = profile_graph(diamond())
    again = Profile.from_json(profile.to_json())
    assert model_page(profile, lang=lang) == model_page(again, lang=lang) == model_page(again, lang=lang)
    assert f'<html lang="{lang}">' in model_page(profile, lang=lang)


@pytest.mark.parametrize("single", [True, False])
def test_policy_allows_nothing_inline_and_nothing_from_elsewhere(single: bool) -> None:
    text = model_page(profile_graph(diamond()), root=None if single else "../")
    page = Page(text)
    assert (policy_single() if single else POLICY_SITE) in page.values("content")
    assert "unsafe" not in policy_single() + POLICY_SITE
    assert page.values("style") == []
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert all(value.startswith(("#", "data:", "../")) for value in page.values("href"))
    assert page.tags.count("script") == 1
    assert (style() in text and script() in text) is single
    assert page.values("src") == ([] if single else ["../report.js"])


def test_ids_are_unique_and_every_link_into_the_page_has_its_target() -> None:
    for profile in (profile_graph(hostile_graph()), long_profile(30)):
        page = Page(model_page(profile))
        ids = page.values("id")
        assert len(ids) == len(set(ids))
        assert {href[1:] for href in page.values("href") if href.startswith("#")} <= set(ids)
        assert set(page.values("data-k")) - {""} <= set(ids)


def test_hostile_names_stay_text_everywhere() -> None:
    profile = profile_graph(hostile_graph())
    for text in (
        model_page(profile),
        model_page(profile, lang="zh-CN"),
        compare_page([Subject(profile=profile), Subject(profile=profile_graph(chain()))]),
        site([profile])["index.html"],
    ):
        page = Page(text)
        assert not {"img", "blink", "u", "iframe"} & set(page.tags)
        assert page.tags.count("script") <= 1
        assert HOSTILE in page.text or "net" in page.text
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\u2066-\u2069]", text)
    assert "{{ 7 * 7 }}{% raw %}" in Page(model_page(profile)).text


def test_csv_of_hostile_names_runs_no_formula_and_json_closes_no_script() -> None:
    files = site([profile_graph(hostile_graph())])
    (table,) = [text for name, text in files.items() if name.endswith(".csv")]
    rows = list(csv.reader(io.StringIO(table)))
    assert not [cell for row in rows[1:] for cell in row if cell.startswith(("=", "@"))]
    (data,) = [text for name, text in files.items() if name.endswith(".json")]
    assert [layer["name"] for layer in json.loads(data)["layers"]][: len(NAMES)] == list(NAMES)


def test_lone_surrogates_do_not_stop_a_page() -> None:
    document = profile_graph(chain()).to_dict()
    document["layers"][0]["name"] = "bad\ud800name"
    document["model"]["name"] = "also\udfff"
    text = model_page(Profile.from_dict(document))
    assert "bad\\ud800name" in text
    text.encode("utf-8")


def test_missing_sections_are_said_and_unknown_is_never_zero() -> None:
    bare = Page(model_page(profile_graph(chain(), sections=())))
    for phrase in ("has no memory analysis", "has no receptive fields", "needs a device", "Nothing is measured"):
        assert phrase in bare.text
    assert bare.text.count("not analysed") == 4
    hostile = model_page(profile_graph(hostile_graph()))
    assert "1 layer is not counted" in hostile and "≥" in hostile and "<td>?" in hostile


def test_a_profile_without_layers_and_one_without_shapes() -> None:
    net = Net("empty")
    x = net.input("x", (1, 3, 8, 6))
    assert "empty" in model_page(profile_graph(net.build(x)))
    net = Net("shapeless")
    x = net.input("x", (1, 3, 8, 6))
    y = net.op("nonzero", (x,), None, "where")
    assert "shapeless" in model_page(profile_graph(net.build(y)))


def test_sizes_stay_under_the_limits() -> None:
    """400 kB up to 200 layers, 2 MB at 5,000 nodes; the script under 30 kB."""
    assert len(model_page(long_profile(50)).encode()) < 400_000
    assert len(model_page(long_profile(1250)).encode()) < 2_000_000
    assert len(script().encode()) <= 30_000


def test_catalogues_have_equal_keys_and_placeholders() -> None:
    english, chinese = (catalogue(lang) for lang in LANGUAGES)
    assert list(english) == list(chinese)

    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for key, text in english.items():
        assert fields(text) == fields(chinese[key]), key
        assert text.count("**") == chinese[key].count("**"), key
        assert text.count("`") == chinese[key].count("`"), key


def test_every_text_is_used_and_every_use_has_a_text() -> None:
    folder = templates_folder()
    sources = [p.read_text(encoding="utf-8") for p in sorted(folder.rglob("*.j2"))]
    code = Path(__file__).resolve().parents[2] / "cnnprof" / "render"
    sources += [p.read_text(encoding="utf-8") for p in sorted(code.rglob("*.py"))]
    every = "\n".join(sources)
    used = set(re.findall(r"""\bt(?:\.html)?\(\s*["']([a-z_]+(?:\.[a-z_0-9]+)+)["']\s*[,)]""", every))
    assert used <= set(catalogue("en"))
    stems = {key.rsplit(".", 1)[0] + "." for key in catalogue("en")}
    unused = [
        key for key in catalogue("en")
        if key not in every and not any(stem in every for stem in stems if key.startswith(stem))
    ]  # fmt: skip
    assert [key for key in unused if not key.startswith("story.")] == []


def test_two_models_of_one_name_get_two_files() -> None:
    first, second = profile_graph(chain()), profile_graph(chain())
    assert [m.slug for m in models_of([first, second])] == ["chain", "chain-2"]
    files = site([first, second])
    assert {"models/chain.html", "models/chain-2.html", "compare.html", "index.html"} <= set(files)
    document = first.to_dict()
    for name, slug in (
        ("../../etc/passwd", "etc-passwd"),
        ("CON", "model-CON"),
        ("***", "model"),
        ("Chain", "Chain-2"),
    ):
        document["model"] = {**document["model"], "name": name}
        assert [m.slug for m in models_of([first, Profile.from_dict(document)])][1] == slug


def test_the_command_writes_a_file_and_a_site(cnnprof: Run, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(profile_graph(chain()).to_json(), encoding="utf-8")
    (tmp_path / "b.json").write_text(profile_graph(diamond()).to_json(), encoding="utf-8")
    done = cnnprof("report", "a.json", "-o", "a.html")
    assert done.returncode == 0 and done.stderr == "wrote a.html\n"
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == model_page(profile_graph(chain()))
    done = cnnprof("report", "a.json", "b.json", "-o", "out/", "--lang", "zh-CN")
    assert done.returncode == 0
    made = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert made == [
        "compare.html", "data/chain.csv", "data/chain.json", "data/diamond.csv", "data/diamond.json", "index.html",
        "models/chain.html", "models/diamond.html", "report.css", "report.js",
    ]  # fmt: skip
    done = cnnprof("compare", "a.json", "b.json", "-o", "both.html", "-q")
    assert done.returncode == 0 and done.stderr == ""
    done = cnnprof("compare", "a.json", "b.json")
    assert done.returncode == 0 and done.stdout.splitlines()[0].split()[:2] == ["model", "MACs"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["report", "old.json", "-o", "x.html"], 5, "expected schema cnnprof.profile/1, got 'cnnprof.profile/0'"),
        (["report", "torn.json", "-o", "x.html"], 5, "torn.json: not JSON"),
        (["report", "array.json", "-o", "x.html"], 5, "array.json: not a cnnprof profile"),
        (["report", "gone.json", "-o", "x.html"], 3, "gone.json: No such file"),
        (["report", "good.json", "-o", "no/such/folder/x.html"], 2, "can't write"),
        (["report", "good.json", "-o", "good.json/out"], 2, "can't make the folder"),
        (["report", "good.json", "-o", "file.txt"], 2, "file.txt: is a file"),
        (["report", "good.json", "good.json", "-o", "x.html"], 2, "one file holds one model"),
        (["report", "good.json", "-o", "x.html", "--lang", "fr"], 2, "'fr' is not one of"),
        (["compare", "good.json"], 2, "at least two models"),
        (["compare", "good.json", "good.json", "-o", "x.pdf"], 2, "one HTML file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    cnnprof: Run, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    good = profile_graph(chain()).to_json()
    for name, text in (
        ("good.json", good), ("old.json", good.replace("cnnprof.profile/1", "cnnprof.profile/0")),
        ("torn.json", good[: len(good) // 2]), ("array.json", "[1, 2]"), ("file.txt", "mine"),
    ):  # fmt: skip
        (tmp_path / name).write_text(text, encoding="utf-8")
    before = sorted(p.name for p in tmp_path.iterdir())
    done = cnnprof(*arguments)
    assert done.returncode == code
    assert message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 4  # click's usage errors take a few lines
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert (tmp_path / "file.txt").read_text() == "mine"


def test_damaged_sections_are_refused_with_a_line_not_a_traceback(cnnprof: Run, tmp_path: Path) -> None:
    document = profile_graph(chain()).to_dict()
    document["memory"] = {"timeline": 7, "peak": "high"}
    (tmp_path / "odd.json").write_text(json.dumps(document), encoding="utf-8")
    done = cnnprof("report", "odd.json", "-o", "x.html")
    assert done.returncode == 5 and "odd.json" in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "x.html").exists()


def test_compare_text_has_ratios_to_the_first() -> None:
    """diamond: 148·... its MACs 4·16·10·(36 + 36 + 4) = 48,640 against the chain's 322,560: 0.15."""
    rows = compare_rows([Subject(profile=profile_graph(g)) for g in (chain(), diamond())])
    lines = compare_text(rows).splitlines()
    assert "323 k" in lines[1] and "48.6 k  0.15×" in lines[2]


def test_stale_names_what_differs(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "index.html").write_text("old")
    (tmp_path / "models" / "gone.html").write_text("x")
    assert stale(tmp_path, {"index.html": "new", "report.css": "c"}) == [
        "outdated: index.html", "missing: report.css", "left over: models/gone.html"
    ]  # fmt: skip


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_story_renders_in_both_languages(lang: str) -> None:
    page = Page(story_page(lang=lang, pages={"nin": ("NIN & co", "models/nin.html")}))
    assert page.tags.count("table") == 10
    assert "NIN & co" in page.text and "models/nin.html" in page.values("href")
    assert "{" not in page.text.replace("{lang}", "")
