"""How long a page takes to make, and to open in a browser. Limits are the project's own; machines are noisy."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from graphs import Net

from cnnprof.api import profile_graph
from cnnprof.profile import Profile
from cnnprof.render.html import model_page

pytestmark = pytest.mark.bench


def blocks(count: int, *, scopes: bool) -> Profile:
    """Residual blocks of four layers; with or without modules."""
    net = Net(f"{4 * count} ops")
    x, shape = net.input("x", (1, 8, 24, 16)), (1, 8, 24, 16)
    for i in range(count):
        scope = f"stage{i // 50}/{i % 50}" if scopes else ""
        a, _ = net.conv(x, shape, 8, name=f"b{i}.conv1", scope=f"{scope}/conv1" if scopes else "")
        a = net.op("relu", (a,), shape, f"b{i}.relu", scope=f"{scope}/relu" if scopes else "")
        b, _ = net.conv(a, shape, 8, name=f"b{i}.conv2", scope=f"{scope}/conv2" if scopes else "")
        x = net.op("add", (b, x), shape, f"b{i}.add", scope=scope)
    return profile_graph(net.build(x))


def dense(ops: int, reach: int = 40) -> Profile:
    """Every layer reads the sum of one of the last ``reach`` outputs and the last: no cut anywhere."""
    net = Net("dense")
    x, shape = net.input("x", (1, 4, 16, 8)), (1, 4, 16, 8)
    outs = [x]
    for i in range(ops // 2):
        joined = net.op("add", (outs[-1], outs[max(0, len(outs) - reach)]), shape, f"j{i}")
        out, _ = net.conv(joined, shape, 4, name=f"c{i}")
        outs.append(out)
    return profile_graph(net.build(outs[-1]))


@pytest.mark.parametrize("kind", ["modules", "flat", "dense"])
def test_page_of_5000_ops(benchmark, kind: str) -> None:  # type: ignore[no-untyped-def]
    """Under 10 s to make, under 2 MB."""
    profile = dense(5000) if kind == "dense" else blocks(1250, scopes=kind == "modules")
    assert len(profile.layers) == 5000
    page = benchmark.pedantic(model_page, args=(profile,), rounds=2, warmup_rounds=0)
    assert benchmark.stats.stats.min < 10
    assert len(page.encode()) < 2_000_000


def test_page_of_resnet50(benchmark) -> None:  # type: ignore[no-untyped-def]
    """Under 3 s, under 400 kB."""
    import cnnprof

    profile = cnnprof.analyze("torchvision:resnet50")
    page = benchmark.pedantic(model_page, args=(profile,), rounds=3, warmup_rounds=0)
    assert benchmark.stats.stats.min < 3
    assert len(page.encode()) < 400_000


def test_a_page_of_5000_ops_opens_quickly(tmp_path: Path) -> None:
    """From navigation to loaded, scripts run, in under 2 s."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium here")
    from playwright.sync_api import sync_playwright

    file = tmp_path / "page.html"
    file.write_text(model_page(blocks(1250, scopes=True)), encoding="utf-8")
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    took = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        for _ in range(3):
            page = browser.new_page()
            start = time.perf_counter()
            page.goto(file.as_uri(), wait_until="load")
            page.evaluate("new Promise(done => requestAnimationFrame(() => done()))")
            took.append(time.perf_counter() - start)
            page.close()
        browser.close()
    print(f"5,000 ops open in {min(took):.2f} s")
    assert min(took) < 2
