"""The former name of experiments/verifiable.py, for tests/verify, until these import it from there."""

from experiments.verifiable import verify_scratch

__all__ = ["verify_scratch"]
