"""What a clip costs: IDOL and the compared methods side by side in one process (the paper's Table 7)."""

from idol.benchmark.costs import Cost, CostReport
from idol.benchmark.inputs import drawn_inputs
from idol.benchmark.machine import processor
from idol.benchmark.measure import benchmark
from idol.benchmark.methods import METHODS, DepthEstimator, Method, Precision, build

__all__ = [
    "METHODS",
    "Cost",
    "CostReport",
    "DepthEstimator",
    "Method",
    "Precision",
    "benchmark",
    "build",
    "drawn_inputs",
    "processor",
]
