"""The edit that mends a backward: candidates of one edit each, made of the author's expressions and NumPy's names."""
