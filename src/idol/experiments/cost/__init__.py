"""What a clip costs: IDOL and the compared methods side by side in one process (the paper's Table 7)."""

from idol.experiments.cost.dummy_inputs import drawn_inputs
from idol.experiments.cost.hardware import processor
from idol.experiments.cost.measure import benchmark
from idol.experiments.cost.methods import METHODS, DepthEstimator, Method, Precision, build
from idol.experiments.cost.report import Cost, CostReport

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
