"""What people bring, as one thing: a forward and its backward with named arrays."""
