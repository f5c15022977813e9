"""Whether this process runs on a developer's machine or in a test: the only places for what lets anyone in."""

from __future__ import annotations

from bandmaster.kernel import KernelSettings

ENVIRONMENTS = ("development", "test")
"""The environments that allow it, as they must be written. An unset or unknown one counts as production."""


def is_for_development(kernel: KernelSettings) -> bool:
    """Whether the environment is set, and says development or test."""
    return "environment" in kernel.model_fields_set and kernel.environment.lower() in ENVIRONMENTS


def describe_environment(kernel: KernelSettings) -> str:
    """Why `is_for_development` says no."""
    variable = kernel.variable("environment")
    if "environment" not in kernel.model_fields_set:
        return f"{variable} isn't set, which counts as production"
    return f"{variable} is {kernel.environment!r}, neither development nor test"
