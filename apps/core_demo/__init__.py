"""What the core is worth: samplers and steering on worlds whose answer is known."""

from apps.core_demo.page import run_core_demo

__all__ = ["run_core_demo"]
