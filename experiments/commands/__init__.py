"""The commands of ``python -m experiments``, a file each: its docstring, ``add_arguments`` and ``run``."""
