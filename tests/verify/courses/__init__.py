"""Right forward and backward passes in the styles of homework, lecture notes and blog posts."""

from tests.verify.courses import activations, blocks, convolution, dense, losses, norms, pooling, recurrent
from tests.verify.courses.course import CACHES, Course

COURSES: list[Course] = [
    course
    for module in (activations, blocks, convolution, dense, losses, norms, pooling, recurrent)
    for course in module.COURSES
]

__all__ = ["CACHES", "COURSES", "Course"]
