"""Both backwards, the user's and the reference's, with one set of inputs after another."""
