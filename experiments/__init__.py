"""Both twins on XOR, moons, circles, digits and MNIST: ``python -m experiments``."""
