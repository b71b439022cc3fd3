"""Everything about a GPU in one command: ``python -m cnnprof.measure.gpu_check -o reports/accuracy/gpu.json``.

In order: is the timing right (against CUDA events by hand and against kernels); calibrate; predict and measure the
networks of ``cnnprof verify``, as many as fit, eager and as CUDA graphs; peak memory of ten; once more what was noisy,
and the noise floor with what time is left. The result is an accuracy record (as of ``cnnprof verify``) of eager runs,
with ``cuda_graph`` and ``gpu_check`` beside. It is written after every step, so that what was done is there whatever
happens, and the time limit holds: what doesn't fit is left out and listed under ``skipped``.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cnnprof.devices.store import write_whole
from cnnprof.errors import CnnprofError, UsageError, one_line
from cnnprof.measure.accuracy import Compared, report
from cnnprof.measure.accuracy_models import MODELS as JUDGED
from cnnprof.measure.cuda import Cuda
from cnnprof.measure.fresh import start_server
from cnnprof.measure.gpu_check_parts import Profiles, apart, check_memory, check_work, judge_model, measured_again

__all__ = ["MEMORY_MODELS", "MODELS", "Check", "main"]

GPU_CHECK_SCHEMA = "cnnprof.gpu-check/1"
LIMIT_S = 450.0  # of the eight minutes; the rest is for starting Python and for the last step to overrun
_CALIBRATE_S = 70.0  # measuring; waiting for a quiet host and fitting come on top
_FOR_MEMORY_S = 45.0  # kept back from the networks
_LAST_S = 3.0

# All that predictions are judged on, every family once first: what there's no time for is the rest of the families.
_FIRST: tuple[str, ...] = (
    "torchvision:resnet18", "torchvision:resnet50", "torchvision:mobilenet_v2", "torchvision:mobilenet_v3_large",
    "torchvision:efficientnet_b0", "torchvision:densenet121", "torchvision:googlenet", "torchvision:vgg11",
    "torchvision:alexnet", "torchvision:squeezenet1_1", "torchvision:shufflenet_v2_x1_0", "torchvision:regnet_y_800mf",
    "torchvision:resnext50_32x4d", "torchvision:mnasnet1_0", "torchvision:convnext_tiny", "timm:cspresnet50",
    "timm:dla34", "timm:ghostnet_100", "timm:res2net50_26w_4s", "timm:mobilenetv4_conv_small",
)  # fmt: skip
MODELS: tuple[str, ...] = (*_FIRST, *(model for model in JUDGED if model not in _FIRST))
MEMORY_MODELS: tuple[str, ...] = (
    "torchvision:resnet18", "torchvision:resnet50", "torchvision:mobilenet_v2", "torchvision:efficientnet_b0",
    "torchvision:densenet121", "torchvision:vgg11", "torchvision:googlenet", "torchvision:squeezenet1_1",
    "torchvision:shufflenet_v2_x1_0", "torchvision:convnext_tiny",
)  # fmt: skip


class Check:
    """One run. ``now`` is the clock that the limit is kept by; ``calibrate`` and ``sizes`` are for tests."""

    def __init__(
        self,
        cuda: Cuda,
        output: Path,
        *,
        limit_s: float = LIMIT_S,
        models: Sequence[str] = MODELS,
        memory_models: Sequence[str] = MEMORY_MODELS,
        sizes: dict[str, int] | None = None,
        calibrate_s: float = _CALIBRATE_S,
        now: Callable[[], float] = time.monotonic,
        say: Callable[[str], object] = lambda _line: None,
    ) -> None:
        self._cuda, self._output, self._limit_s = cuda, output, limit_s
        self._models, self._memory_models, self._sizes = models, memory_models, sizes or {}
        self._calibrate_s, self._now, self._say = calibrate_s, now, say
        self._began = now()
        self._longest_s = 0.0
        self._timing: list[dict[str, Any]] = []
        self._profiles: Profiles | None = None
        self._eager: dict[str, Compared] = {}
        self._graph: dict[str, Compared] = {}
        self._memory: list[Any] = []
        self._failed: dict[str, str] = {}
        self._skipped: list[str] = []
        self._interrupted = False

    def run(self) -> dict[str, Any]:
        """All steps; the report. What fails is listed with its reason, and the next step goes on; Ctrl-C ends it.
        Raises :class:`UsageError`, before anything runs, if the report can't be written."""
        self._write()
        try:
            self._steps()
        except KeyboardInterrupt:
            self._interrupted = True
        self._write()
        return self.document()

    def _steps(self) -> None:
        if self._cuda.on_hardware:
            start_server()
        for name in ("matmul", "conv"):
            self._step(f"timing {name}", partial(self._check_timing, name))
        self._step("calibration", self._calibrate, least_s=self._calibrate_s)
        for model in self._models if self._profiles is not None else ():
            self._step(model, partial(self._judge, model), least_s=_FOR_MEMORY_S + self._longest_s)
        if self._profiles is None:
            self._skipped += [f"{model}: no calibration" for model in self._models]
        for model in self._memory_models:
            self._step(f"memory {model}", partial(self._check_memory, model))
        latest_first = tuple(self._eager)[::-1]
        for model in sorted(latest_first, key=lambda name: self._eager[name].quiet):  # after the noisy ones
            self._step(f"again {model}", partial(self._again, model), least_s=self._longest_s)

    def left_s(self) -> float:
        return self._limit_s - (self._now() - self._began)

    def _step(self, name: str, work: Callable[[], object], *, least_s: float = 0.0) -> None:
        if self.left_s() < max(least_s, _LAST_S):
            self._skipped.append(f"{name}: no time left")
            return
        self._say(f"{self._now() - self._began:5.0f} s  {name}")
        began = self._now()
        try:
            work()
        except CnnprofError as error:
            self._failed[name] = str(error)
        except Exception as error:
            # One step that breaks must not cost the others: a GPU may not be there a second time.
            self._failed[name] = f"{one_line(error)}"
        if name in self._models:
            self._longest_s = max(self._longest_s, self._now() - began)
        gc.collect()
        self._write()

    def _write(self) -> None:
        try:
            self._output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{self._output.parent}: can't make the folder ({error.strerror})", "choose another"
            ) from None
        write_whole(self._output, json.dumps(self.document(), indent=1, sort_keys=True, allow_nan=False) + "\n")

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What ``function`` finds on the device: a real one is asked from a process of its own."""
        return apart(function, *arguments) if self._cuda.on_hardware else function(*arguments, self._cuda)

    def _check_timing(self, name: str) -> None:
        self._timing.append(self._ask(check_work, name, self._sizes))

    def _calibrate(self) -> None:
        from cnnprof.measure.calibrate_cuda import calibrate_cuda

        made = calibrate_cuda(runner="torch", budget_s=self._calibrate_s, cuda=self._cuda)
        self._profiles = Profiles(eager=made.profile, graph=made.graph)
        if made.graph is None:
            self._failed["CUDA graphs"] = "too few of the synthetic networks could be captured"

    def _judge(self, model: str) -> None:
        assert self._profiles is not None
        eager, graph = self._ask(judge_model, model, self._profiles)
        self._eager[model] = eager
        if graph is not None:
            self._graph[model] = graph

    def _check_memory(self, model: str) -> None:
        self._memory.append(self._ask(check_memory, model))

    def _again(self, model: str) -> None:
        assert self._profiles is not None
        self._eager[model] = self._ask(measured_again, model, self._eager[model], self._profiles.eager)

    def document(self) -> dict[str, Any]:
        """The report of what was done so far."""
        facts = self._cuda.facts()
        errors = [abs(row["error_of_tensors"]) for row in self._memory]
        check = {
            "schema": GPU_CHECK_SCHEMA,
            "limit_s": self._limit_s,
            "spent_s": self._now() - self._began,
            "timing": self._timing,
            "timing_passed": len(self._timing) == 2 and all(row["passed"] for row in self._timing),
            "memory": {
                "models": self._memory,
                **({"median_error": statistics.median(errors), "worst_error": max(errors)} if errors else {}),
            },
            "skipped": list(self._skipped),
        }
        about = {"hardware": facts.hardware(), "versions": facts.versions(), "threads": 1, "batch": 1}
        document = report(
            list(self._eager.values()), {**about, **self._about(graph=False), "failed": dict(self._failed)}
        )
        if self._graph:
            document["cuda_graph"] = report(list(self._graph.values()), {**about, **self._about(graph=True)})
        return {**document, "gpu_check": check}

    def _about(self, *, graph: bool) -> dict[str, Any]:
        found = None if self._profiles is None else self._profiles.graph if graph else self._profiles.eager
        if found is None:
            return {
                "device": self._cuda.facts().name,
                "runner": "torch",
                "calibration": {},
                "interrupted": self._interrupted,
            }
        keys = ("networks", "samples", "seed", "budget_s", "gates")
        return {
            "device": found.name,
            "runner": found.runner,
            "calibration": {key: found.data.get(key) for key in keys},
            "interrupted": self._interrupted,
        }


def main(arguments: Sequence[str] | None = None, cuda: Cuda | None = None) -> int:
    """0 if the timing is right and nothing failed, 1 if not, 4 without a CUDA device."""
    parser = argparse.ArgumentParser(prog="gpu_check", description="Timing, prediction and memory on a CUDA device.")
    parser.add_argument("-o", "--output", type=Path, help="the report (default: reports/accuracy/GPU.json)")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="leave out what doesn't fit")
    options = parser.parse_args(arguments)
    try:
        if cuda is None:
            from cnnprof.measure.cuda_torch import TorchCuda

            cuda = TorchCuda()
        name = "".join(c if c.isalnum() else "-" for c in cuda.facts().name.lower()).strip("-")
        output = options.output or Path("reports/accuracy") / f"{name}.json"
        found = Check(cuda, output, limit_s=options.limit, say=lambda line: sys.stderr.write(line + "\n")).run()
    except CnnprofError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{output}: {_summary(found)}\n")
    return 0 if found["gpu_check"]["timing_passed"] and not found["failed"] else 1


def _summary(found: dict[str, Any]) -> str:
    check = found["gpu_check"]
    parts = [f"timing {'right' if check['timing_passed'] else 'WRONG'}"]
    for label, record in (("eager", found), ("CUDA graph", found.get("cuda_graph", {}))):
        if "errors" in record:
            parts.append(f"{label}: {record['errors']['models']} networks, mean error {record['errors']['mean']:.1%}")
    if "median_error" in check["memory"]:
        parts.append(f"memory: median error {check['memory']['median_error']:.1%}")
    parts.append(f"{len(found['failed'])} failed, {len(check['skipped'])} skipped, {check['spent_s']:.0f} s")
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
