"""The packages as they are installed: a wheel, unpacked, with its console script."""

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("scratch", "torch_impl", "experiments")
VERSION = "9.8.7"  # so that this one is not taken for another
SCRIPT = "import sys\nfrom {module} import {function}\nif __name__ == '__main__':\n    sys.exit({function}())\n"


@dataclass(frozen=True)
class Installed:
    """Where the wheel's files are, the console script, and a folder that holds other files of the packages' names."""

    packages: Path
    script: Path
    misleading: Path

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run the console script in the misleading folder."""
        command = [sys.executable, str(self.script), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(self.packages)}
        return subprocess.run(
            command, cwd=self.misleading, env=environment, capture_output=True, text=True, timeout=200, check=False
        )


def install(folder: Path) -> Installed:
    """Build the wheel of the working tree, with VERSION, and unpack it."""
    source, packages, misleading = folder / "source", folder / "packages", folder / "misleading"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    init = source / "scratch" / "__init__.py"
    start, _, _ = init.read_text().partition("__version__")
    init.write_text(f'{start}__version__ = "{VERSION}"\n')
    build = ["-c", "from setuptools import build_meta; build_meta.build_wheel('..')"]
    subprocess.run([sys.executable, *build], cwd=source, capture_output=True, check=True)
    (wheel,) = folder.glob("twingrad-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)

    entry = (packages / f"twingrad-{VERSION}.dist-info" / "entry_points.txt").read_text().split()
    module, _, function = entry[entry.index("twingrad") + 2].partition(":")
    script = folder / "bin" / "twingrad"
    script.parent.mkdir()
    script.write_text(SCRIPT.format(module=module, function=function))  # as pip writes it

    mislead(misleading)
    return Installed(packages, script, misleading)


def mislead(folder: Path) -> None:
    """Make a folder of files that have the packages' names."""
    (folder / "experiments").mkdir(parents=True)
    for name in ("experiments/__init__.py", "scratch.py", "torch_impl.py"):
        (folder / name).write_text("raise ImportError('this is the file in the current folder')\n")
