"""Module paths: where in the network an operator stands, from what exporters leave in the file.

torch's script exporter writes it into node names ("/layer1/layer1.0/conv1/Conv"), its dynamo exporter into
metadata (``pkg.torch.onnx.name_scopes``, ``namespace``), TensorFlow's into node names without the slash.
All become "layer1/0/conv1".
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["module_of", "scope_of"]

# A StringStringEntryProto as it stands in the file: key (field 1) with its length, then the tag of the value.
_NAME_SCOPES = b"\n\x1apkg.torch.onnx.name_scopes\x12"
_NAMESPACE = b"\n\tnamespace\x12"


@lru_cache(maxsize=4096)
def module_of(entry: bytes) -> str:
    """The module path in one serialised metadata entry; "" where it holds none."""
    if entry.startswith(_NAME_SCOPES):
        return _from_name_scopes(_value(entry, len(_NAME_SCOPES)))
    if entry.startswith(_NAMESPACE):
        return _from_namespace(_value(entry, len(_NAMESPACE)))
    return ""


def _value(entry: bytes, at: int) -> str:
    """The text whose length stands at ``at``."""
    while at < len(entry) and entry[at] >= 0x80:
        at += 1
    return entry[at + 1 :].decode("utf-8", "replace")


def _from_name_scopes(value: str) -> str:
    """``['', 'layer1', 'layer1.0', 'layer1.0.conv1', 'conv2d']``: the last is the call, not a module."""
    parts = value.strip()[1:-1].split(", ")
    if len(parts) < 2:
        return ""
    return "/".join(part for part in parts[-2].strip("'\"").split(".") if part)


def _from_namespace(value: str) -> str:
    """``: pkg.ResNet/layer1: pkg.Sequential/layer1.0: pkg.Block/relu: aten.relu.default``."""
    names = [part.partition(":")[0].strip() for part in value.split("/")]
    modules = [name for name in names[:-1] if name]
    return "/".join(part for part in modules[-1].split(".") if part) if modules else ""


def scope_of(name: str) -> str:
    """The module path in a node name: its folders, each without the prefix that repeats its parent."""
    head, slash, _ = name.rpartition("/")
    if not slash:
        return ""
    return _folders(head)


@lru_cache(maxsize=4096)
def _folders(head: str) -> str:
    found: list[str] = []
    parent = ""
    for part in head.split("/"):
        if not part:
            continue
        own = part[len(parent) + 1 :] if parent and part.startswith(parent + ".") else part
        if "." in own:
            found += [piece for piece in own.split(".") if piece]
        else:
            found.append(own)
        parent = part
    return "/".join(found)
