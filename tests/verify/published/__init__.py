"""Right code as people publish it, written without a look at the verifier."""
