"""What can be verified: everything in scratch, or what a file of yours holds."""

from experiments.verifiable.everything import verify_scratch
from experiments.verifiable.file import Stopped, file_and_name, verify_file
from experiments.verifiable.fixing import write_repairs
from experiments.verifiable.progress import progress_line
from torch_impl.verify.limits import limited

__all__ = [
    "Stopped", "file_and_name", "limited", "progress_line", "verify_file", "verify_scratch", "write_repairs"
]  # fmt: skip
