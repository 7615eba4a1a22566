"""What can be verified: everything in scratch, or what a file of yours holds."""

from experiments.verifiable.everything import verify_scratch
from experiments.verifiable.file import verify_file

__all__ = ["verify_file", "verify_scratch"]
