"""Calibrated profiles in the user's data folder: ``$XDG_DATA_HOME/cnnprof/devices`` (default ``~/.local/share``).

A profile is ``NAME.json``, its table of samples ``NAME.samples.csv`` beside it. Files are written whole or not at all.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.errors import DeviceError, SchemaError, UsageError

__all__ = ["data_folder", "import_profile", "load_profile", "reference_names", "samples_path", "save_profile",
           "stored_names", "write_whole"]  # fmt: skip


_PACKED = ".json.gz"  # what ships is packed: megabytes of trees


def data_folder() -> Path:
    """Where calibrated profiles live. An XDG_DATA_HOME that isn't absolute is ignored, as its specification says."""
    given = os.environ.get("XDG_DATA_HOME", "")
    base = Path(given) if given and Path(given).is_absolute() else Path.home() / ".local" / "share"
    return base / "cnnprof" / "devices"


def stored_names() -> tuple[str, ...]:
    """Names of the user's calibrated profiles, in alphabetical order."""
    folder = data_folder()
    return tuple(sorted(path.stem for path in folder.glob("*.json"))) if folder.is_dir() else ()


def reference_names() -> tuple[str, ...]:
    """Names of the calibrated profiles that ship with cnnprof."""
    return tuple(sorted(path for path in _references()))


def _references() -> Iterator[str]:
    folder = resources.files("cnnprof.devices") / "reference"
    if folder.is_dir():
        yield from (entry.name.removesuffix(_PACKED) for entry in folder.iterdir() if entry.name.endswith(_PACKED))


def load_profile(name: str) -> CalibratedDevice:
    """The user's profile ``name``, else the one that ships under that name.

    Raises :class:`DeviceError` if there's none, :class:`SchemaError` if it can't be read.
    """
    path = data_folder() / f"{name}.json"
    if name in stored_names():
        return CalibratedDevice.from_json(_read(path), origin=str(path))
    if name in reference_names():
        entry = resources.files("cnnprof.devices") / "reference" / f"{name}{_PACKED}"
        return CalibratedDevice.from_json(gzip.decompress(entry.read_bytes()), origin=f"reference/{name}{_PACKED}")
    raise DeviceError(f"no calibrated device {name!r}", "cnnprof devices list names them")


def save_profile(profile: CalibratedDevice, samples_csv: str | None = None) -> Path:
    """Write a profile, and its samples beside it, into the data folder; returns the profile's path."""
    folder = data_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: can't make the folder ({error.strerror})", "set XDG_DATA_HOME") from None
    if samples_csv is not None:
        write_whole(samples_path(profile.name), samples_csv)
    path = folder / f"{profile.name}.json"
    write_whole(path, profile.to_json())
    return path


def samples_path(name: str) -> Path:
    return data_folder() / f"{name}.samples.csv"


def import_profile(path: Path) -> CalibratedDevice:
    """Read an exported profile and store it. Raises :class:`SchemaError`; nothing is stored then."""
    profile = CalibratedDevice.from_json(_read(path), origin=str(path))
    save_profile(profile)
    return profile


def write_whole(path: Path, text: str) -> None:
    """Write through a temporary file in the same folder. Raises :class:`UsageError` if that can't be done."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{path}: can't write ({error.strerror or error})", "choose another place") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SchemaError(f"{path}: can't read ({error.strerror or error})", "check the path") from None
