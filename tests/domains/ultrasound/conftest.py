"""Fixtures of the ultrasound tests."""

from tests.fixtures.priors import priors

__all__ = ["priors"]
