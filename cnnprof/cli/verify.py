"""``cnnprof verify``: predicted against measured over the committed list of networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cnnprof.cli.interrupt import kill_keeps

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof verify
  cnnprof verify --runner onnxruntime
  cnnprof verify --device my-laptop -o reports/accuracy/my-laptop.json
  cnnprof verify --sweep --budget 240s
  cnnprof verify --model torchvision:resnet18 --model timm:dla34 --batch 4
"""


@click.command("verify", epilog=_EPILOG, short_help="Predicted against measured, over a list of networks.")
@click.option("-d", "--device", metavar="NAME", help="A calibrated profile (default: calibrate first).")
@click.option("--runner", type=click.Choice(["torch", "onnxruntime"]), default="torch", show_default=True,
              help="For the calibration; onnxruntime runs what torch exports.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="For the calibration.")
@click.option("--budget", type=click.Choice(["15s", "60s", "240s"]), default="60s", show_default=True)
@click.option("--model", "models", multiple=True, metavar="REFERENCE", help="Instead of the list. Repeatable.")
@click.option("--sweep", is_flag=True, help="Instead of the list: a dozen networks at batches 1-32, inputs 128-384.")
@click.option("-b", "--batch", type=click.IntRange(min=1), help="Set the batch dimension.")
@click.option("-o", "--output", metavar="FILE", help="Write the record (JSON) there, and its page beside it.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on standard error.")
@kill_keeps
def command(
    *, device: str | None, runner: str, threads: int, budget: str, models: tuple[str, ...], sweep: bool,
    batch: int | None, output: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Predict and measure at least 40 CNNs of torchvision and timm, and say how far they are apart.

    Networks that the machine was too noisy for are listed and left out of every figure. The record is written anew
    after every network; Ctrl-C ends the run with what was measured.
    """
    import json
    from pathlib import Path

    from cnnprof.cli.output import write_file
    from cnnprof.devices.calibrated import CalibratedDevice
    from cnnprof.devices.find import find_device
    from cnnprof.errors import UsageError
    from cnnprof.measure.accuracy_models import MODELS, SWEEP
    from cnnprof.measure.calibrate import calibrate
    from cnnprof.measure.session import fixed_work
    from cnnprof.measure.verify import verify

    if output is not None and output.lower().endswith((".html", ".htm")):
        raise UsageError(f"-o {output}: the record is JSON, its page comes beside it", "give a FILE that ends in .json")
    if output is not None and not Path(output).absolute().parent.is_dir():
        raise UsageError(f"-o {output}: there is no such folder", "make it first: measuring takes a while")
    if sweep and (models or batch):
        raise UsageError("--sweep: it has its own models and batches", "leave out --model and --batch")
    if device is None:
        seconds = float(budget.removesuffix("s"))
        calibration = calibrate(
            runner=runner, threads=threads, budget_s=seconds, progress=None if quiet else _calibrating()
        )
        found: Any = calibration.profile
        if calibration.interrupted:
            click.echo(f"interrupted: go on with cnnprof verify --device {found.name}", err=True)
            raise click.exceptions.Exit(130)
    else:
        found = find_device(device)
        if not isinstance(found, CalibratedDevice):
            raise UsageError(
                f"{device}: a datasheet, nothing here can be measured on it", "cnnprof calibrate makes a profile"
            )

    def progress(done: int, steps: int, name: str) -> None:
        if not quiet:
            click.echo(f"{done}/{steps} {name}", err=True)

    def keep(document: dict[str, Any]) -> None:
        if output is not None:
            write_file(output, json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n")

    listed = models or (SWEEP if sweep else MODELS)
    document = verify(found, listed, batch=batch, anchor=fixed_work, progress=progress, keep=keep)
    keep(document)
    if output is not None:
        from cnnprof.render.accuracy_html import accuracy_page

        write_file(str(Path(output).with_suffix(".html")), accuracy_page(document))
    _say(document)


def _calibrating() -> Callable[[float, int], None]:
    """Says every tenth of the budget once."""
    said = [0]

    def progress(share: float, networks: int) -> None:
        tenth = int(10 * share)
        if tenth > said[0]:
            said[0] = tenth
            click.echo(f"calibrating: {tenth}0 % of the budget, {networks} networks", err=True)

    return progress


def _say(document: dict[str, Any]) -> None:
    total, noisy = len(document["models"]), len(document["too_noisy"])
    click.echo(f"{document['device']}, batch {document['batch']}: {total} networks, {noisy} of them too noisy to judge")
    for name, reason in document["failed"].items():
        click.echo(f"  failed: {name}: {reason}")
    if "errors" not in document:
        click.echo("no verdict: the machine was too noisy throughout")
        return
    click.echo(f"  {'':18}{'mean':>7}{'median':>8}{'within 10 %':>13}{'worst':>7}{'bias':>8}{'rank':>8}")
    for label, errors in (("prediction", document["errors"]), *document["baselines"].items()):
        click.echo(
            f"  {label:18}{errors['mean']:>7.1%}{errors['median']:>8.1%}{errors['within_10']:>13.0%}"
            f"{errors['worst']:>7.0%}{errors['bias']:>+8.1%}{errors['rank_correlation']:>8.4f}"
        )
    intervals = document["intervals"]
    click.echo(
        f"  90 % intervals cover {intervals['coverage_90']:.0%}, median half-width {intervals['median_half_width']:.0%}"
    )
    if "noise_floor" in document:
        floor = document["noise_floor"]
        click.echo(f"  noise floor: median {floor['median']:.1%}, worst {floor['worst']:.0%}")
    if document["layers"]:
        layers = document["layers"]
        click.echo(
            f"  layers above 1 % of the time: {layers['count']}, median error {layers['median_error']:.1%}, "
            f"top-5 recall {layers['top_5_recall']:.0%}"
        )
        if "noise_floor" in layers:
            floor = layers["noise_floor"]
            click.echo(
                f"    measured twice: {floor['median_error']:.1%} apart, "
                f"{floor['top_5_recall']:.0%} of the five slowest the same"
            )
    same = document["coincidence"]
    click.echo(f"  {same['share']:.1%} of the {same['kernels']} convolutions and gemms also stood in the calibration")
