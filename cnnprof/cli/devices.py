"""``cnnprof devices``: what latency can be predicted for; calibrated profiles in and out."""

from __future__ import annotations

import click

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof devices list
  cnnprof devices show rtx4090
  cnnprof devices export my-laptop -o my-laptop.json
  cnnprof devices import my-laptop.json
"""


@click.group("devices", epilog=_EPILOG, short_help="Devices that latency can be predicted for.")
def command() -> None:
    """Devices that latency can be predicted for: calibrated ones (yours, and reference machines) and datasheets."""


@command.command("list")
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def list_devices(form: str) -> None:
    """Every device by name."""
    import json

    from cnnprof.cli.output import console
    from cnnprof.devices.catalogue import catalogue
    from cnnprof.devices.store import load_profile, reference_names, stored_names
    from cnnprof.errors import CnnprofError
    from cnnprof.render.latency_text import print_devices
    from cnnprof.render.quantities import threads

    rows: list[dict[str, str]] = []
    for name in dict.fromkeys((*stored_names(), *reference_names())):
        try:
            profile = load_profile(name)
        except CnnprofError as error:
            rows.append({"name": name, "from": "unreadable", "runner": "", "device": error.message})
            continue
        origin = "calibrated" if name in stored_names() else "reference"
        rows.append({
            "name": name, "from": f"{origin}, degraded" if profile.degraded else origin,
            "runner": f"{profile.runner}, {threads(profile.threads or 1)}, {profile.dtype}", "device": profile.title,
        })  # fmt: skip
    rows += [
        {"name": d.name, "from": "datasheet", "runner": ", ".join(sorted(d.dtypes)), "device": d.title}
        for d in catalogue().values()
    ]
    if form == "json":
        click.echo(json.dumps(rows, indent=1))
    else:
        print_devices(console(), rows)


@command.command("show")
@click.argument("name")
def show(name: str) -> None:
    """Everything known of one device, with where each number comes from (JSON)."""
    import dataclasses
    import json

    from cnnprof.devices.calibrated import CalibratedDevice
    from cnnprof.devices.find import find_device

    found = find_device(name)
    if isinstance(found, CalibratedDevice):
        click.echo(found.to_json(), nl=False)
    else:
        click.echo(json.dumps(dataclasses.asdict(found), indent=1, sort_keys=True, default=dict))


@command.command("export")
@click.argument("name")
@click.option("-o", "--output", metavar="FILE", help="Write there instead of standard output.")
def export(name: str, output: str | None) -> None:
    """A calibrated profile as one file, for another machine or a repository."""
    from cnnprof.cli.output import deliver
    from cnnprof.devices.store import load_profile

    deliver(load_profile(name).to_json(), output)


@command.command("import")
@click.argument("file", type=click.Path())
def import_file(file: str) -> None:
    """Add an exported profile to yours. A profile of another schema is refused (exit code 5)."""
    from pathlib import Path

    from cnnprof.devices.store import import_profile
    from cnnprof.render.quantities import threads

    profile = import_profile(Path(file))
    click.echo(f"{profile.name}: imported ({profile.runner}, {threads(profile.threads or 1)}, {profile.dtype})")
