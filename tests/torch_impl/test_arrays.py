"""A few of the campaign's kinds of arrays (python -m tests.faults arrays)."""

import numpy as np
import pytest
import torch

from tests.faults import arrays
from torch_impl.convert import tensor


def test_all_trainings_take_the_same_arrays_or_refuse_them_alike():
    problems = [f"{o.case}: {o.problem}" for o in arrays.outcomes(24, seed=1) if o.problem is not None]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("kind", ["past int64", "below zero", "above the classes", "as f4", "masked", "as times"])
def test_bad_labels_are_refused_alike(kind):
    (case,) = [c for c in arrays.cases() if c[:3] == ("classes", "y", kind)]
    assert arrays.problem(case) is None


@pytest.mark.parametrize("change", arrays.ALIKE.values(), ids=arrays.ALIKE)
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "i1", "u2", ">i4", "u8"])
def test_a_tensor_holds_the_numbers_of_any_array(dtype, change, recwarn):
    a = change(np.arange(12).reshape(4, 3).astype(dtype))
    made = tensor(a)
    np.testing.assert_array_equal(made.numpy(), a)
    assert made.dtype == (torch.int64 if a.dtype.kind in "iu" else getattr(torch, f"float{8 * a.itemsize}"))
    assert not recwarn
