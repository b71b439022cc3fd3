"""Series to Vega specifications to static inline SVG: one file per chart family."""
