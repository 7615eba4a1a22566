import numpy as np
import pytest
import torch

import scratch
from scratch import Dropout, Linear, Network, ReLU, initial_parameters, mlp
from torch_impl import copy_to_module, parameters_of, twin
from torch_impl.convert import slots_of
from torch_impl.counterparts import EXAMPLES, LAYERS

NETWORK = mlp((5, 7, 6, 3), ReLU(), dropout=0.4, input_dropout=0.2)


@pytest.fixture(params=["float32", "float64"])
def params(request, rng):
    return initial_parameters(NETWORK, rng, bias=0.1, dtype=request.param)


def test_the_state_dict_has_the_same_keys_and_values(params):
    state = twin(NETWORK, params).state_dict()
    assert list(state) == list(params)
    for name, value in state.items():
        assert str(value.dtype) == f"torch.{params.dtype}"
        np.testing.assert_array_equal(value.numpy(), params[name])


def test_there_and_back_again_without_sharing_memory(params):
    module = twin(NETWORK, params)
    back = parameters_of(module)
    np.testing.assert_array_equal(back.vector, params.vector)
    assert back.shapes == params.shapes
    assert back.dtype == params.dtype
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(9)
    assert params.vector.max() < 9
    assert back.vector.max() < 9


def test_torch_draws_no_initial_weights(params):
    before = torch.get_rng_state()
    twin(NETWORK, params)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_shares_its_masks_in_training_and_is_off_in_evaluation(params):
    module = twin(NETWORK, params)
    x = np.random.default_rng(1).standard_normal((7, 5)).astype(params.dtype)
    tolerance = 1e-12 if params.dtype == np.float64 else 1e-5
    for train in (True, False):
        module.train(train)
        with torch.no_grad():
            theirs = module(torch.from_numpy(x), np.random.default_rng(3)).numpy()
        ours, _ = NETWORK.apply(params, x, np.random.default_rng(3) if train else None)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def test_without_a_generator_dropout_is_torchs_own(params):
    module = twin(Network((Dropout(0.5),)), params.__class__({}, params.dtype))
    y = module(torch.ones(200, 50))
    assert set(y.unique().tolist()) == {0.0, 2.0}


def test_every_layer_has_a_counterpart():
    assert set(LAYERS) == {type(layer) for layer, _ in EXAMPLES.values()}


def test_bad_input_is_named(params):
    class Mystery(ReLU):
        pass

    with pytest.raises(TypeError, match=r"no torch counterpart of .*Mystery.* is known; add one to"):
        twin(Network((Linear(5, 3), Mystery())), params)
    with pytest.raises(ValueError, match="module has the parameters .*, expected those of params"):
        twin(mlp((5, 4, 3), ReLU()), params)
    with pytest.raises(ValueError, match="device is 'cuda:99', but torch finds .* CUDA GPUs here; expected 'cpu'"):
        twin(NETWORK, params, "cuda:99")
    with pytest.raises(ValueError, match="device is 'gpu', expected 'cpu', 'cuda' or 'cuda:N'"):
        twin(NETWORK, params, "gpu")
    module = twin(NETWORK, params)
    before = parameters_of(module).vector.copy()
    with pytest.raises(ValueError, match="expected those of params"):
        copy_to_module(scratch.Parameters({"0.weight": (2, 2)}), module)
    np.testing.assert_array_equal(parameters_of(module).vector, before)


def test_a_buffer_that_scratch_has_no_place_for_is_named():
    module = torch.nn.Linear(5, 3)
    module.register_buffer("seen", torch.zeros(3, dtype=torch.int64))
    with pytest.raises(TypeError, match="seen of the module has dtype torch.int64, expected a floating-point buffer"):
        parameters_of(module)
    norm = torch.nn.BatchNorm1d(3)  # whose counter of batches is none
    assert parameters_of(norm).untrained == ("running_mean", "running_var")


def test_a_parameter_without_a_gradient_costs_the_others_no_optimizer_state():
    module = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Linear(2, 1))
    optimizer = torch.optim.Adam(module.parameters())
    module[1](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    found = slots_of(optimizer, scratch.Adam().slots(np.zeros(6, "float32")))["exp_avg"]
    np.testing.assert_array_equal(found[:3], 0)
    assert (found[3:] != 0).all()
