"""Budgets to extend that come with cnnprof; a preset of the same name in the user's file wins."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["PRESETS"]

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # The "mobile setting" of ImageNet models: fewer than 600M multiply-adds at 224x224
        # (Zoph, Vasudevan, Shlens, Le, "Learning Transferable Architectures ...", CVPR 2018, section 4.2).
        "mobile": {"macs": "600M"},
        # A Cortex-M7 of the STM32F746 class: 320 KiB SRAM for activations, 1 MiB flash for weights
        # (Lin, Chen, Lin, Gan, Han, "MCUNet", NeurIPS 2020, table 1).
        "microcontroller": {"peak_activation_bytes": "320 KiB", "parameter_bytes": "1 MiB"},
        # Double precision in a deployed network is nearly always an export accident.
        "no-double": {"forbid_dtypes": ["float64", "complex128"]},
    }
)
