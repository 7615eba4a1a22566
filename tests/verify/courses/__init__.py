"""Right forward and backward passes in the styles of homework, lecture notes and blog posts."""

from tests.verify.courses import (
    activations,
    attention,
    blocks,
    convolution,
    dense,
    distances,
    gated,
    losses,
    models,
    norms,
    pooling,
    recurrent,
    whole,
)
from tests.verify.courses.course import CACHES, Course

SUBJECTS = (
    *(dense, blocks, activations, norms, convolution, pooling),
    *(recurrent, gated, attention),
    *(losses, distances, models, whole),
)
COURSES: list[Course] = [course for subject in SUBJECTS for course in subject.COURSES]

__all__ = ["CACHES", "COURSES", "Course"]
