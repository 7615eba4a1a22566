"""Why a gradient is wrong.

``trial.py`` puts a mistake into the reverse pass, ``search.py`` finds the mistakes that make the user's numbers, and
``words.py`` says so. Two files are to come: ``blame.py``, which of the user's lines the fault is in, and ``repair.py``,
which edit mends it.
"""
