"""Shared by the tests of what measures on CUDA."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_cuda import FakeCuda, QuietHost

from cnnprof.measure import calibrate_cuda, cuda_networks
from cnnprof.measure.calibrate import Calibration


@pytest.fixture(scope="module")
def quick_cuda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A data folder of its own, and a calibration on the fake device that takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        # The fake device says the same every time: once is enough.
        patch.setattr(cuda_networks, "_LEAST_RUNS", 3)
        patch.setattr(cuda_networks, "_LEAST_S", 0.0)
        patch.setattr(cuda_networks, "_PASSES", 2)
        patch.setattr(cuda_networks, "_HOST_RUNS", 1)
        patch.setattr(calibrate_cuda, "_WARM_S", 0.0)
        patch.setattr("cnnprof.measure.cuda.SystemClock", QuietHost)
        yield


@pytest.fixture(scope="module")
def cuda_calibration(quick_cuda: None) -> Calibration:
    # Each network takes a few milliseconds of the device's time.
    return calibrate_cuda.calibrate_cuda(runner="torch", budget_s=0.25, name="fake", cuda=FakeCuda())
