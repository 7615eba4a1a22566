import numpy as np
import pytest

from scratch import Parameters

SHAPES = {"0.weight": (3, 5), "0.bias": (3,), "2.weight": (2, 3)}


def test_views_share_memory_with_the_vector():
    params = Parameters(SHAPES)
    params.vector[:] = np.arange(24)
    np.testing.assert_array_equal(params["0.weight"], np.arange(15).reshape(3, 5))
    params["0.bias"] = np.full(3, -1.0)
    np.testing.assert_array_equal(params.vector[15:18], -1)
    assert [v.shape for v in params.group("0")] == [(3, 5), (3,)]
    assert list(params) == list(SHAPES)
    assert len(params) == 3
    assert "2.bias" not in params
    assert "2.weight" in params
    assert repr(params) == f"Parameters({SHAPES}, dtype=float64)"


def test_copies_share_nothing():
    params = Parameters(SHAPES, "float32")
    other = params.copy()
    other.vector[:] = 1
    assert params.vector.max() == 0
    assert other.gradients().vector.max() == 0
    assert other.dtype == np.float32


def test_bad_input_is_named():
    params = Parameters(SHAPES)
    with pytest.raises(ValueError, match=r"^name is '0.weigth', expected one of .*; did you mean '0.weight'\?"):
        params["0.weigth"]
    with pytest.raises(ValueError, match=r"^0.bias has shape \(5,\), expected \(3,\)"):
        params["0.bias"] = np.zeros(5)
    with pytest.raises(TypeError, match="^0.bias has dtype int64, expected float64"):
        params["0.bias"] = np.zeros(3, int)
    with pytest.raises(ValueError, match="^prefix is '3.attn', expected one of '0', '2'"):
        params.group("3.attn")
    with pytest.raises(ValueError, match="^untrained is '0.bais', expected one of .*; did you mean '0.bias'"):
        Parameters(SHAPES, untrained=["0.bais"])
    with pytest.raises(TypeError, match="^dtype is int64, expected float32 or float64"):
        Parameters(SHAPES, int)
    assert params.vector.max() == 0
