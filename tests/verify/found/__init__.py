"""Wrong gradients as they were found in public code: the same mistakes in code of our own.

``cases.py`` is the list. The other files hold the code and nothing else, as somebody would hand it to the verifier.
"""
