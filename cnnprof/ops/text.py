"""Strings. How long a string is depends on data, so what matching and splitting cost is known only by name.

Joining strings only copies; hashing is integer arithmetic over bytes of unknown number.
"""

from __future__ import annotations

from cnnprof.ops.naming import broadcast_shape, microsoft, moving, onnx
from cnnprof.ops.relations import unpredictable
from cnnprof.ops.rules import linear_formula, pointwise_window
from cnnprof.ops.spec import Call, OpSpec

__all__ = ["SPECS"]


def _broadcast(call: Call) -> tuple[tuple[int, ...] | None, ...]:
    return (broadcast_shape(*(call.shape(i) for i in range(len(call.inputs)))),)


SPECS: tuple[OpSpec, ...] = (
    moving("string_concat", pointwise_window, onnx("StringConcat"), shapes=_broadcast),
    *(
        moving(kind, unpredictable, spelling, work=None, formula=linear_formula)
        for kind, spelling in (
            ("regex_match", onnx("RegexFullMatch")),
            ("string_normalizer", onnx("StringNormalizer")),
            ("string_split", onnx("StringSplit")),
            ("tfidf_vectorizer", onnx("TfIdfVectorizer")),
            ("tokenizer", microsoft("Tokenizer")),
            ("murmur_hash", microsoft("MurmurHash3")),
        )
    ),
)
