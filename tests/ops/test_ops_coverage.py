"""Every operator of every operator set from 7 on has an entry in the table, and the table is sound."""

from __future__ import annotations

import onnx
import pytest

from cnnprof.ops import table
from cnnprof.ops.spec import Memory

# Operators without an entry, each with its reason.
MISSING: dict[str, str] = {}

# onnxruntime keeps this one in ai.onnx, where the standard doesn't have it.
NOT_IN_STANDARD = {"onnx:SimplifiedLayerNormalization"}

# Kinds that are known by name but not countable, each with its reason.
NOT_COUNTABLE = {
    "non_max_suppression": "how many boxes are compared depends on the boxes",
    "image_decoder": "depends on the compressed stream",
    "regex_match": "depends on the strings",
    "string_normalizer": "depends on the strings",
    "string_split": "depends on the strings",
    "tfidf_vectorizer": "depends on the tokens",
    "tokenizer": "depends on the strings",
    "murmur_hash": "depends on the strings",
    "tree_ensemble": "how deep a tree is walked depends on data",
    "gradient": "stands for a whole backward graph",
    "attention_sparse": "which keys a query meets is in the data",
    "text_generation": "runs a decoder until data says stop",
}


def onnx_operators() -> dict[str, list[int]]:
    """Spelling -> versions, of every operator that a model of opset 7 or later can hold."""
    found: dict[str, list[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        domain = schema.domain or "onnx"
        found.setdefault(f"{domain}:{schema.name}", []).append(schema.since_version)
    return found


def test_every_onnx_operator_has_an_entry() -> None:
    operators = onnx_operators()
    assert len(operators) > 200  # about 200 kinds in ai.onnx, 19 in ai.onnx.ml
    missing = {name for name in operators if not table.lookup(name)}
    assert missing == set(MISSING)


def test_no_onnx_spelling_is_misspelt() -> None:
    """Each "onnx:" spelling is an operator that exists (in whatever version)."""
    operators = onnx_operators()
    ours = {
        name
        for name in table.spellings()
        if name.partition(":")[0] in ("onnx", "ai.onnx.ml", "ai.onnx.preview.training")
    }
    assert ours - set(operators) == NOT_IN_STANDARD


MICROSOFT = (
    "Gelu FastGelu QuickGelu BiasGelu BiasAdd BiasSplitGelu BiasDropout BitmaskDropout ExpandDims Unique "
    "CropAndResize GridSample Inverse NGramRepeatBlock Pad Tokenizer Irfft Rfft ComplexMul ComplexMulConj "
    "GatherND GreedySearch BeamSearch Sampling MurmurHash3 BitmaskBiasDropout"
)


@pytest.mark.parametrize("name", MICROSOFT.split())
def test_com_microsoft_pointwise_and_layout(name: str) -> None:
    assert table.lookup(f"com.microsoft:{name}")


def test_what_is_not_countable_is_listed_with_its_reason() -> None:
    assert {kind for kind, spec in table.specs().items() if spec.work is None} == set(NOT_COUNTABLE)


def test_every_kind_has_a_spelling_and_a_formula_where_it_costs() -> None:
    for kind, spec in table.specs().items():
        assert spec.spellings, kind
        if spec.memory is Memory.METADATA and spec.work is not None:
            assert not spec.mac_operator, kind


def test_aten_in_place_variants_mean_the_same_kind() -> None:
    """``relu_`` and ``relu``, ``add_.Tensor`` and ``add.Tensor``: one kind."""
    rows = table.spellings()
    pairs = 0
    for name, entries in rows.items():
        if not name.startswith("aten:") or name.endswith("_"):
            continue
        base, dot, overload = name.partition(".")
        twin = rows.get(f"{base}_{dot}{overload}")
        # fill_, zero_, random_ ... read nothing of what they overwrite, so they stand alone.
        if twin is None or base == "aten:copy":
            continue
        pairs += 1
        assert {entry.kind for _, entry in entries} == {entry.kind for _, entry in twin}, name
    assert pairs > 300
