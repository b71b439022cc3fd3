"""The datasheet catalogue: numbers against the makers' own arithmetic, a source for each."""

from __future__ import annotations

import pytest

from cnnprof.devices.catalogue import catalogue, read_device
from cnnprof.devices.find import device_names, find_device
from cnnprof.errors import CnnprofError, DeviceError, UsageError


def test_every_device_the_issue_names_is_there() -> None:
    wanted = [
        "H100",
        "H100 PCIe",
        "H200",
        "A100",
        "RTX 3090",
        "RTX 4090",
        "RTX 5090",
        "T4",
        "L4",
        "Jetson Orin",
        "i7-12700H",
        "EPYC 7763",
    ]
    for name in wanted:
        assert find_device(name).name in catalogue()


# Peaks from first principles: units × clock × operations a cycle, as the makers' whitepapers give them.
@pytest.mark.parametrize(
    ("name", "dtype", "matrix", "teraflops"),
    [
        # RTX 4090: 16384 CUDA cores × 2.52 GHz × 2 = 82.6
        ("rtx4090", "float32", False, 16384 * 2.52e9 * 2 / 1e12),
        # 512 tensor cores × 2.52 GHz × 64 FMA (FP32 accumulate, half rate) × 2 = 165.2
        ("rtx4090", "float16", True, 512 * 2.52e9 * 64 * 2 / 1e12),
        # A100: 6912 × 1.41 GHz × 2 = 19.5; 432 tensor cores × 256 FMA × 1.41 GHz × 2 = 312
        ("a100", "float32", False, 6912 * 1.41e9 * 2 / 1e12),
        ("a100", "float16", True, 432 * 256 * 1.41e9 * 2 / 1e12),
        # H100 SXM: 16896 × 1.98 GHz × 2 = 66.9; 528 × 512 FMA × 1.83 GHz × 2 = 989
        ("h100", "float32", False, 16896 * 1.98e9 * 2 / 1e12),
        ("h100", "float16", True, 528 * 512 * 1.83e9 * 2 / 1e12),
        # RTX 3090: 10496 × 1.695 GHz × 2 = 35.6;  T4: 2560 × 1.59 GHz × 2 = 8.1
        ("rtx3090", "float32", False, 10496 * 1.695e9 * 2 / 1e12),
        ("t4", "float32", False, 2560 * 1.59e9 * 2 / 1e12),
        # RTX 5090: 21760 × 2.407 GHz × 2 = 104.8;  L4: 7424 × 2.04 GHz × 2 = 30.3
        ("rtx5090", "float32", False, 21760 * 2.407e9 * 2 / 1e12),
        ("l4", "float32", False, 7424 * 2.04e9 * 2 / 1e12),
        # i7-12700H: 6 × 4.7 × 32 + 8 × 3.5 × 16 = 1350 GFLOP/s
        ("i7-12700h", "float32", False, (6 * 4.7e9 * 32 + 8 * 3.5e9 * 16) / 1e12),
    ],
)
def test_peaks_are_units_times_clock(name: str, dtype: str, matrix: bool, teraflops: float) -> None:
    device = find_device(name)
    assert device.peak_flops_per_s(dtype, matrix=matrix) == pytest.approx(teraflops * 1e12, rel=0.01)


# Bandwidth: bus width in bytes × data rate.
@pytest.mark.parametrize(
    ("name", "bytes_per_s"),
    [
        ("rtx4090", 384 / 8 * 21e9),  # GDDR6X at 21 Gbit/s a pin
        ("rtx3090", 384 / 8 * 19.5e9),
        ("rtx5090", 512 / 8 * 28e9),  # GDDR7
        ("t4", 256 / 8 * 10e9),
        ("a100-pcie-40gb", 5120 / 8 * 2.43e9),  # HBM2 at 1215 MHz, two transfers a clock
        ("i7-12700h", 2 * 8 * 4.8e9),
        ("epyc-9654", 12 * 8 * 4.8e9),
        ("jetson-agx-orin", 256 / 8 * 6.4e9),
    ],
)
def test_bandwidth_is_bus_times_rate(name: str, bytes_per_s: float) -> None:
    assert find_device(name).bandwidth_bytes_per_s == pytest.approx(bytes_per_s, rel=0.01)


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_number_has_its_source(name: str) -> None:
    device = catalogue()[name]
    assert {"vector", "bandwidth_gb_per_s", "cache_mib", "memory_gb", "launch_overhead_us"} <= set(device.sources)
    assert all(len(source) > 20 for source in device.sources.values())
    assert device.kind in ("cpu", "gpu") and (device.cores > 0) == (device.kind == "cpu")
    assert device.vector_flops_per_s["float32"] > 0


def test_a_number_without_source_is_refused() -> None:
    table = {"title": "x", "kind": "cpu", "vector": {"float32": 1.0}, "bandwidth_gb_per_s": 1, "cache_mib": 1,
             "memory_gb": 1, "launch_overhead_us": 1, "sources": {"vector": "here"}}  # fmt: skip
    with pytest.raises(ValueError, match="no source for bandwidth_gb_per_s"):
        read_device("x", table)


def test_spelling_of_names_does_not_matter() -> None:
    assert find_device("RTX 4090") is find_device("rtx-4090") is find_device("4090")


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match="did you mean rtx4090") as caught:
        find_device("rtx4091")
    assert caught.value.exit_code == 4


def test_a_dtype_without_a_rate() -> None:
    with pytest.raises(UsageError, match="t4: no peak rate for float8"):
        find_device("t4").peak_flops_per_s("float8", matrix=True)


def test_names_are_unique() -> None:
    names = [name for device in catalogue().values() for name in (device.name, *device.aliases)]
    assert len(names) == len(set(names))
    assert set(catalogue()) <= set(device_names())


def test_missing_file_is_one_line() -> None:
    with pytest.raises(CnnprofError, match="nowhere.json: No such file"):
        find_device("nowhere.json")
