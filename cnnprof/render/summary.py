"""The lines under every table: totals, complexity, memory, coverage. Pure text, no colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnprof.profile import Profile
from cnnprof.render.quantities import exact, nbytes, plain, shape, si

__all__ = ["coverage_line", "header_line", "receptive_field_line", "summary_pairs"]


def header_line(profile: Profile) -> str:
    """``resnet50 · ONNX opset 9 · data 1×3×224×224 → prob 1×1000``."""
    model = profile.model
    kind = {"onnx": "ONNX", "torch": "PyTorch", "pt2": "PyTorch export"}.get(model["format"], model["format"])
    if "opset" in model:
        kind += f" opset {model['opset']}"
    sides = (
        ", ".join(f"{plain(t['name'])} {shape(t.get('shape'))}" for t in tensors[:3])
        + (f" and {len(tensors) - 3} more" if len(tensors) > 3 else "")
        for tensors in (profile.inputs, profile.outputs)
    )
    mode = "" if profile.mode == "inference" else f" · {profile.mode}"
    return f"{plain(profile.name)} · {kind}{mode} · {' → '.join(sides)}"


def summary_pairs(profile: Profile) -> list[tuple[str, str]]:
    """(label, text) for each line, most asked-for first."""
    totals = profile.totals
    bound = "≥ " if not profile.complete else ""
    pairs = [
        (
            "compute",
            f"{bound}{si(totals['macs'], 'MACs')} · {bound}{si(totals['flops'], 'FLOPs')}"
            f" · {bound}{si(totals['transcendentals'])} transcendentals",
        ),
        (
            "parameters",
            f"{exact(totals['parameters'])} ({nbytes(totals['parameter_bytes'])})" + _buffers(profile),
        ),
        (
            "activations",
            f"{si(totals['activation_elements'])} elements · {nbytes(totals['activation_bytes'])} of new memory",
        ),
        ("traffic", _traffic(profile)),
        ("time", f"O(Σ M²·K²·C_in·C_out) = {bound}{exact(totals['macs'])} MACs"),
        (
            "space",
            f"O(Σ K²·C_in·C_out + Σ M²·C_out) = {exact(totals['parameters'])} + {exact(totals['activation_elements'])}",
        ),
    ]
    pairs[2:2] = _optional(profile)
    ranges = profile.bounds or {}
    if "macs" in ranges and ranges["macs"][1] is not None:
        low, high = ranges["macs"]
        pairs.insert(1, ("range", f"{si(low, 'MACs')} to {si(high, 'MACs')}, by the branch that is taken"))
    pairs.append(("coverage", coverage_line(profile)))
    return pairs


def coverage_line(profile: Profile) -> str:
    """``176 ops, all counted`` or what isn't, by name."""
    coverage = profile.coverage
    if coverage["complete"]:
        free = coverage["zero_by_definition"]
        return f"{coverage['ops']} ops, all known" + (f" ({free} move or view data only)" if free else "")
    missing = sum(group["count"] for group in coverage["unknown"])
    share = 100 * (coverage["ops"] - missing) / max(coverage["ops"], 1)
    names = ", ".join(f"{group['count']}× {plain(group['op_type'])}" for group in coverage["unknown"][:5])
    more = "" if len(coverage["unknown"]) <= 5 else f" and {len(coverage['unknown']) - 5} more types"
    return f"{share:.1f} % of {coverage['ops']} ops; NOT counted: {names}{more}. Totals are lower bounds."


def _buffers(profile: Profile) -> str:
    count = profile.totals["buffers"]
    return f" · {exact(count)} buffers ({nbytes(profile.totals['buffer_bytes'])})" if count else ""


def _traffic(profile: Profile) -> str:
    totals = profile.totals
    text = f"{nbytes(totals['bytes_read'])} read · {nbytes(totals['bytes_written'])} written"
    intensity = totals.get("arithmetic_intensity")
    return text if intensity is None else f"{text} · {intensity:.1f} FLOPs/byte"


def _optional(profile: Profile) -> list[tuple[str, str]]:
    pairs = []
    if "peak_bytes" in profile.totals:
        peak = profile.memory.get("peak", {}) if profile.memory else {}
        where = f" at {plain(str(peak['op']))}" if peak.get("op") else ""
        pairs.append(("peak memory", f"{nbytes(profile.totals['peak_bytes'])}{where}"))
    if profile.receptive_field is not None:
        pairs.append(("receptive field", receptive_field_line(profile)))
    return pairs


def receptive_field_line(profile: Profile) -> str:
    """``483×483, stride 32×32, at layer4/2/conv3; then global`` or the outputs' own field."""
    last: tuple[str, Mapping[str, Any]] | None = None
    for layer in profile.layers:
        field = layer.data.get("receptive_field")
        if field and field["size"] and not any(field["global"]) and None not in field["size"]:
            last = layer.name, field
    outputs = [row for rows in (profile.receptive_field or {}).get("outputs", {}).values() for row in rows]
    everything = any(row["global"] and any(row["global"]) for row in outputs)
    if last is None:
        return "everything, from the first layer on" if everything else "no spatial axis"
    name, field = last
    stride = "" if None in field["stride"] else f", stride {shape(field['stride'])}"
    return f"{shape(field['size'])}{stride}, at {plain(name)}" + ("; global behind it" if everything else "")
