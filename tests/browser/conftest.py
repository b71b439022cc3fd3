"""A real Chromium, and the pages it is shown. Without a browser these tests fail in CI and skip elsewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hostile import NAMES, hostile_graph

from cnnprof.api import profile_graph

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from cnnprof.profile import Profile

ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass
class Watched:
    """A page, with everything it said and asked for. ``requests`` leaves file: and data: out."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


Open = Callable[..., Watched]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: install it (apt-get install chromium) or set CHROMIUM", pytrace=False)
        pytest.skip("no Chromium here; CI has one")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    contexts = []

    def show(
        path: Path, *, scheme: str = "light", width: int = 1280, scripts: bool = True, fragment: str = ""
    ) -> Watched:
        context = browser.new_context(
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport={"width": width, "height": 900},
            java_script_enabled=scripts,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        watched = Watched(page)
        page.on("console", lambda message: watched.messages.append(message.text))
        page.on("pageerror", lambda error: watched.messages.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(("file:", "data:")) else watched.requests.append(request.url)
            ),
        )
        page.goto(path.as_uri() + fragment)
        return watched

    yield show
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def resnet18() -> Profile:
    """A real network with memory and receptive field, at an asymmetric input."""
    import cnnprof

    return cnnprof.analyze("torchvision:resnet18", ["1x3x192x160"])


def timed(profile: Profile) -> Profile:
    """``profile`` with a prediction and a measurement of every layer, off by −20 to +20 %."""
    predicted, measured = {}, {}
    for at, layer in enumerate(profile.layers):
        seconds = 2e-5 + (layer.macs or 0) / 4e10
        measured[layer.name] = {"latency_s": seconds}
        guess = seconds * (1 + ((at * 17) % 41 - 20) / 100)
        predicted[layer.name] = {
            "latency_s": guess, "low_s": guess * 0.85, "high_s": guess * 1.15, "class": "conv_dense" if layer.macs else "norm",
            "bound": "compute" if layer.macs else "memory", "flops_per_s": (layer.macs or 1000) * 2 / guess,
            "intensity": layer.arithmetic_intensity or 0.5,
        }  # fmt: skip
    end = sum(row["latency_s"] for row in measured.values()) + 3e-4
    return profile.with_sections(
        prediction={
            "device": {"name": "mine", "title": "Some CPU"}, "mode": "calibrated", "runner": "torch", "threads": 1, "batch": 1,
            "latency_s": end * 1.03, "low_s": end * 0.95, "high_s": end * 1.11, "by_layer": predicted,
            "peak_flops_per_s": 1e11, "bandwidth_bytes_per_s": 2e10, "bound_shares": {"compute": 0.8, "memory": 0.2},
            "degraded": ["drift"],
        },
        measurement={
            "device": {"name": "cpu", "title": "Some CPU"}, "runner": "torch", "threads": 1, "batch": 1, "latency_s": end,
            "by_layer": measured, "between_layers_s": 3e-4,
        },
    )  # fmt: skip


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory, resnet18: Profile) -> Path:
    """A site of three models and the same as single files, in both languages."""
    from graphs import chain, diamond
    from hostile import HOSTILE
    from records import compared, crowd, gpu_record, record

    from cnnprof.render.accuracy_html import accuracy_page
    from cnnprof.render.compare_html import compare_page
    from cnnprof.render.html import model_page
    from cnnprof.render.site import site
    from cnnprof.render.views.compare import Subject
    from cnnprof.render.views.published import published_of

    root = tmp_path_factory.mktemp("pages")
    hostile, small = profile_graph(hostile_graph()), profile_graph(diamond())
    bare = profile_graph(chain(), sections=())
    files = site([resnet18, hostile, small], title="<b>Bold</b> & bad")
    subjects = [Subject(profile=p, published=published_of(p)) for p in (resnet18, hostile)]
    files |= {
        "resnet18.html": model_page(resnet18, published=published_of(resnet18)),
        "resnet18-zh.html": model_page(resnet18, lang="zh-CN", published=published_of(resnet18)),
        "hostile.html": model_page(hostile),
        "bare.html": model_page(bare),
        "pair.html": compare_page(subjects),
        "timed.html": model_page(timed(resnet18)),
        "accuracy.html": accuracy_page(crowd(), data_links=[("JSON", "accuracy.json")]),
        "accuracy-gpu.html": accuracy_page(gpu_record(right=False)),
        "accuracy-zh.html": accuracy_page(crowd(), lang="zh-CN"),
        "accuracy-hostile.html": accuracy_page(
            record(
                *(
                    compared(f"timm:{name}", 0.01 * at, 0.012 * at, classes={"a/conv": name})
                    for at, name in enumerate(NAMES, 1)
                ),
                compared(f"timm:{HOSTILE}", 0.01, 0.03, quiet=False, reasons=(HOSTILE,)),
                device=HOSTILE,
                failed={HOSTILE: HOSTILE},
            )
        ),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root
