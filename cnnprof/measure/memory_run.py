"""Run a torch model once, on the CPU or on CUDA, and measure its memory. The model is given back as it
was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from cnnprof.errors import CnnprofError, ModelError, UsageError, one_line
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.torch.arguments import Inputs, make_arguments, plan_arguments
from cnnprof.frontends.torch.borrow import borrowed
from cnnprof.frontends.torch.references import load_module
from cnnprof.frontends.torch.substrate import Cpu
from cnnprof.frontends.torch.training import backward, make_optimizer, tensors_in
from cnnprof.measure.memory_cuda import CudaAllocator, TorchCudaAllocator, measure_on_cuda
from cnnprof.measure.memory_record import MeasuredMemory
from cnnprof.measure.memory_torch import measure_on_cpu

__all__ = ["measure_module", "measure_reference"]


def measure_reference(
    reference: str,
    *,
    inputs: Sequence[InputSpec] = (),
    batch: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
    training: bool = False,
    optimizer: str | None = None,
    device: str = "cpu",
    workspace: bool = True,
    initialise: bool = True,
) -> MeasuredMemory:
    """Measure the model that ``reference`` names (``torchvision:NAME``, ``module:callable``, ...).

    ``initialise=False`` runs on zero weights where the model could be built without them: memory is the same
    unless shapes depend on values, and large models start at once.
    """
    loaded = load_module(reference, kwargs)
    module = loaded.rebuild() if initialise and loaded.rebuild is not None else loaded.module
    chosen: Inputs = tuple(inputs) or loaded.inputs
    if chosen is None:
        raise UsageError(f"{reference}: the size of its input isn't known", "give it: --input 1x3x224x224")
    if batch is not None:
        chosen = _with_batch(chosen, batch)
    return measure_module(module, chosen, training=training, optimizer=optimizer, device=device, workspace=workspace)


def measure_module(
    module: nn.Module,
    inputs: Inputs,
    *,
    training: bool = False,
    optimizer: str | None = None,
    device: str = "cpu",
    workspace: bool = True,
    allocator: CudaAllocator | None = None,
) -> MeasuredMemory:
    """Measure one forward pass, or one training step, of ``module``; its weights, mode and gradients stay as
    they are.

    ``workspace`` also runs under torch's profiler to see what kernels allocate for themselves. Raises
    :class:`ModelError` if the model fails, :class:`~cnnprof.errors.DeviceError` without the device.
    """
    if device not in ("cpu", "cuda"):
        raise UsageError(f"--device {device}: expected cpu or cuda", "memory is measured on those")
    on_cuda = device == "cuda"
    statistics = (allocator or TorchCudaAllocator()) if on_cuda else None
    with borrowed(module, Cpu(), training=training):
        arguments = make_arguments(module, plan_arguments(module, inputs), Cpu(), _floating_dtype(module))
        args, kwargs = arguments.args, arguments.kwargs
        given = [tensor for _, tensor in arguments.tensors]
        if on_cuda:
            module.to("cuda")
            args, kwargs = _moved(args), _moved(kwargs)
            given = []
        step = _Step(module, args, kwargs, training=training, optimizer=optimizer)
        mode = "training" if training else "inference"
        try:
            if statistics is not None:
                return measure_on_cuda(step.run, statistics, mode=mode, reset=step.reset)
            return measure_on_cpu(
                step.run,
                lambda: (*step.resident(), *given),
                mode=mode,
                reset=step.reset,
                warm_up=optimizer is not None,
                workspace=workspace,
            )
        except CnnprofError:
            raise
        except Exception as error:
            raise ModelError(
                f"{type(module).__name__}: the measured run failed: {one_line(error)}",
                "try a smaller batch, or leave out --measure",
            ) from error
        finally:
            step.reset()


class _Step:
    """One forward pass, or one whole training step as the tracer takes it."""

    def __init__(
        self,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        training: bool,
        optimizer: str | None,
    ) -> None:
        self._module, self._args, self._kwargs = module, args, kwargs
        self._training = training
        self._optimizer = make_optimizer(optimizer, module) if optimizer else None

    def run(self) -> None:
        if not self._training:
            with torch.no_grad():
                self._module(*self._args, **self._kwargs)
            return
        outputs = tensors_in(self._module(*self._args, **self._kwargs))
        backward(outputs)
        if self._optimizer is not None:
            self._optimizer.step()

    def reset(self) -> None:
        for parameter in self._module.parameters():
            parameter.grad = None

    def resident(self) -> Iterator[torch.Tensor]:
        """Weights, buffers and optimizer state."""
        yield from self._module.parameters()
        yield from self._module.buffers()
        for state in self._optimizer.state.values() if self._optimizer else ():
            yield from (value for value in state.values() if isinstance(value, torch.Tensor))


def _floating_dtype(module: nn.Module) -> torch.dtype:
    tensors = (*module.parameters(), *module.buffers())
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)


def _moved(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to("cuda")
    if isinstance(value, Mapping):
        return {key: _moved(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(item) for item in value)
    return value


def _with_batch(inputs: Inputs, batch: int) -> Inputs:
    """The inputs with their first dimension set; a list of images gets that many of its first."""
    if isinstance(inputs, InputSpec):
        return replace(inputs, shape=(batch, *inputs.shape[1:])) if inputs.shape else inputs
    if isinstance(inputs, list) and inputs and all(isinstance(item, InputSpec) for item in inputs):
        return [inputs[0]] * batch
    if isinstance(inputs, (list, tuple)):
        return type(inputs)(_with_batch(item, batch) for item in inputs)
    if isinstance(inputs, Mapping):
        return {key: _with_batch(value, batch) for key, value in inputs.items()}
    return inputs
