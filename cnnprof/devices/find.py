"""From the name a user gives to a device: a file, a calibrated profile, or a datasheet."""

from __future__ import annotations

import difflib
from pathlib import Path

from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.devices.catalogue import catalogue
from cnnprof.devices.device import Device
from cnnprof.devices.store import load_profile, reference_names, stored_names
from cnnprof.errors import DeviceError

__all__ = ["device_names", "find_device"]


def device_names() -> tuple[str, ...]:
    """Every name that :func:`find_device` knows, aliases apart."""
    return tuple(dict.fromkeys((*stored_names(), *reference_names(), *catalogue())))


def find_device(name: str) -> Device | CalibratedDevice:
    """The device called ``name``: a profile's file (``.json``), a calibrated profile, or a datasheet.

    Raises :class:`DeviceError` (exit 4) if there's none, :class:`SchemaError` (exit 5) if a profile can't be read.
    """
    if name.lower().endswith(".json"):
        try:
            text = Path(name).read_bytes()
        except OSError as error:
            raise DeviceError(f"{name}: {error.strerror or error}", "check the path") from None
        return CalibratedDevice.from_json(text, origin=name)
    if name in stored_names() or name in reference_names():
        return load_profile(name)
    wanted = _plain(name)
    for device in catalogue().values():
        if wanted in map(_plain, (device.name, device.title, *device.aliases)):
            return device
    close = difflib.get_close_matches(name.lower(), device_names(), n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "cnnprof devices list names them"
    raise DeviceError(f"no device {name!r}", hint)


def _plain(name: str) -> str:
    """``RTX 4090``, ``rtx-4090`` and ``rtx4090`` are one device."""
    return "".join(c for c in name.lower() if c.isalnum())
