"""Receptive fields: what each layer, and each single unit, sees of the graph's inputs.

After Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks" (Distill 2019), on
the DAG, per axis and input. :func:`receptive_field` gives all layers' windows in one pass;
:func:`unit_field` the exact set of positions that reach one unit.
"""

from cnnprof.analyses.receptive_field.fields import receptive_field
from cnnprof.analyses.receptive_field.result import (
    AxisWindow,
    LayerField,
    ReceptiveFields,
    SeenInput,
    UnitField,
)
from cnnprof.analyses.receptive_field.unit import unit_field

__all__ = [
    "AxisWindow",
    "LayerField",
    "ReceptiveFields",
    "SeenInput",
    "UnitField",
    "receptive_field",
    "unit_field",
]
