"""What the model runs on while it is traced: meta tensors, fake tensors, or the CPU.

Meta needs neither memory nor arithmetic. A model whose shapes depend on data can't run there; then fake
tensors (which know constants), then really computing on the CPU, in that order.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

__all__ = ["Cpu", "Fake", "Meta", "Substrate"]


class Substrate:
    """Makes tensors to trace with. ``name`` is what notes call it."""

    name = ""
    device = "cpu"  # what tensors on it say they are on

    def mode(self) -> AbstractContextManager[Any]:
        """The context that the model runs in, below the recorder."""
        return nullcontext()

    def is_native(self, tensor: torch.Tensor) -> bool:
        """True if ``tensor`` can take part as it is."""
        raise NotImplementedError

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        raise NotImplementedError

    def like(self, tensor: torch.Tensor) -> torch.Tensor:
        """A stand-in with the same shape, strides and dtype and memory of its own."""
        raise NotImplementedError


_META = torch.device("meta")


class Meta(Substrate):
    name = "meta tensors"
    device = "meta"

    def is_native(self, tensor: torch.Tensor) -> bool:
        return tensor.is_meta

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    def like(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout is not torch.strided:
            return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=_META)


class Fake(Substrate):
    name = "fake tensors"

    def __init__(self) -> None:
        from torch._subclasses.fake_tensor import FakeTensorMode

        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    def mode(self) -> AbstractContextManager[Any]:
        return self._mode

    def is_native(self, tensor: torch.Tensor) -> bool:
        # The mode converts real CPU tensors itself and keeps the values of small constants.
        return not tensor.is_meta or self._is_fake(tensor)

    @staticmethod
    def _is_fake(tensor: torch.Tensor) -> bool:
        from torch._subclasses.fake_tensor import FakeTensor

        return isinstance(tensor, FakeTensor)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        with self._mode:
            return torch.empty(shape, dtype=dtype)

    def like(self, tensor: torch.Tensor) -> torch.Tensor:
        with self._mode:
            return torch.empty_strided(tuple(tensor.size()), tuple(tensor.stride()), dtype=tensor.dtype)


class Cpu(Substrate):
    """Really computes. What must be made up is random with a generator of its own (the user's random
    state stays), in the range that was asked for; nothing is left uninitialised."""

    name = "a real run on the CPU"

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(0)

    def is_native(self, tensor: torch.Tensor) -> bool:
        return tensor.device.type == "cpu"

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return self.fill(shape, dtype, 0, 1)

    def fill(self, shape: tuple[int, ...], dtype: torch.dtype, low: int, high: int) -> torch.Tensor:
        """Random values of [0, 1) where floating, of low..high (both included) where not."""
        if dtype.is_floating_point or dtype.is_complex:
            return torch.rand(shape, generator=self._generator).to(dtype)
        return torch.randint(low, high + 1, shape, generator=self._generator).to(dtype)

    def like(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_meta:
            return torch.zeros(tensor.shape, dtype=tensor.dtype)
        copy: torch.Tensor = tensor.detach().to("cpu", copy=True)
        return copy
