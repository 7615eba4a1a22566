"""The command line: twingrad COMMAND, or python -m experiments COMMAND.

The commands are the files of experiments/commands.
"""

import importlib
import pkgutil
import sys
from collections.abc import Sequence

from experiments import commands
from experiments.command_line import PROGRAM, Command, CommandLine, add_command, drop_output, open_streams
from experiments.training import is_first_process
from scratch import DivergenceError, Interrupted, __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns 0 if it did what was asked, 1 if a training failed, 2 for bad input; 130 after Ctrl-C, 143 after SIGTERM,
    129 after SIGHUP.
    """
    open_streams()
    try:
        try:
            return run(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()
    except OSError as error:  # run() has said the others
        drop_output()
        print(f"error: standard output could not be written ({error.strerror})", file=sys.stderr)
        return 2


def run(arguments: list[str]) -> int:
    """Run a command, in streams that take what is printed."""
    found = find_commands()
    parser = CommandLine(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Train hand-written backprop and its PyTorch twin, and compare them.",
    )
    version = f"twingrad {__version__}"
    parser.add_argument("--version", action="version", version=version, help="Show the version and exit.")
    subcommands = parser.add_subcommands(required=True)
    for name, command in found.items():
        add_command(subcommands, name, command)
    try:
        options = parser.parse_args(arguments)
        own = options[options.subcommand]
        own.typed = arguments  # a benchmark records them, and a resumed run puts them over its config
        return found[options.subcommand].run(own)
    except (DivergenceError, ChildProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f"error: the memory is not enough. {error}".rstrip(), file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise  # of standard output: main() says so
    except (ValueError, OSError) as error:
        said = f"the config file is not UTF-8 text ({error})" if isinstance(error, UnicodeDecodeError) else error
        print(f"error: {' '.join(str(said).split())}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        if not is_first_process():
            return 0  # Lightning kills the first process when another one fails
        print(f"Interrupted. {stop}".rstrip(" "))
        return stop.status
    except KeyboardInterrupt:
        print("Interrupted before the end.", file=sys.stderr)
        return 130


def find_commands() -> dict[str, Command]:
    """The commands by name: a file is one, or has several in its ``COMMANDS``."""
    several, single = {}, {}
    for file in pkgutil.iter_modules(commands.__path__):
        module = importlib.import_module(f"{commands.__name__}.{file.name}")
        if hasattr(module, "COMMANDS"):
            several.update(module.COMMANDS)
        else:
            single[file.name.replace("_", "-")] = Command(module.__doc__, module.add_arguments, module.run)
    return {**several, **single}


if __name__ == "__main__":
    sys.exit(main())
