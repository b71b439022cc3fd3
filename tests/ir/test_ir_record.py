"""A record with a quick constructor is the plain frozen dataclass in everything else; dataclasses is the oracle."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Any

import pytest

from cnnprof.ir.record import quick_init


@dataclass(frozen=True, slots=True)
class Plain:
    name: str
    size: int = 3
    facts: Mapping[str, Any] = field(default_factory=dict)
    _: Any = field(default=None, kw_only=True)


@quick_init
@dataclass(frozen=True, slots=True)
class Quick:
    name: str
    size: int = 3
    facts: Mapping[str, Any] = field(default_factory=dict)
    _: Any = field(default=None, kw_only=True)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [(("a",), {}), (("a", 4), {}), (("a",), {"size": 5}), ((), {"name": "b", "facts": {"k": 1}}), (("a",), {"_": 7})],
)
def test_same_values(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    plain, quick = Plain(*args, **kwargs), Quick(*args, **kwargs)
    assert repr(quick) == repr(plain).replace("Plain", "Quick")
    assert quick == Quick(*args, **kwargs) and quick != Quick("another")
    assert pickle.loads(pickle.dumps(quick)) == quick == copy.deepcopy(quick)
    assert replace(quick, size=9).size == replace(plain, size=9).size == 9


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), (("a", 1, {}, 2), {}), (("a",), {"no": 1}), (("a",), {"name": "b"})]
)
def test_same_refusals(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for kind in (Plain, Quick):
        with pytest.raises(TypeError):
            kind(*args, **kwargs)


def test_frozen_and_factories_make_anew() -> None:
    one, other = Quick("a"), Quick("a")
    assert one.facts is not other.facts
    with pytest.raises(FrozenInstanceError):
        one.size = 4  # type: ignore[misc]
    assert not hasattr(one, "__dict__")
