"""What made a gradient wrong: its name; its place and its repair will stand beside it."""
