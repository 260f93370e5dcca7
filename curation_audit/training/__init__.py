"""Many models at once: stacked weights, batched solvers. torch lives here and in nobody's API."""
