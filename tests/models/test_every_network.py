"""What holds for every network: all of it learns, training is not evaluation, bf16 stays near.

Weights come from the recipe of the goldens. The networks run operation by operation, so that
those of one family share what is compiled; GoogLeNet, of many shapes, is compiled whole.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from flax.traverse_util import flatten_dict

from jaxcnn.models import create_model, list_models, model_info
from jaxcnn.weights import from_torch, names

CLASSES = 100
FAST = {"mlp", "small_cnn", "lenet5"}
NETWORKS = [
    pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in list_models()
]
# Below 2% for every network; the deepest plain ones are the farthest.
BF16 = 0.02


@functools.lru_cache(maxsize=1)
def _network(name):
    info, model = model_info(name), create_model(name, num_classes=CLASSES)
    # One size for many networks: more of them share what is compiled.
    side = max(info.image_size[0] if info.image_size[0] <= 32 else 32, info.min_size)
    images = np.random.default_rng(0).standard_normal((4, side, side, info.channels))
    state_dict = {
        key: recipe.tensor(key, shape) for key, shape in names(model, image_size=side).items()
    }
    variables = from_torch(state_dict, model, image_size=side)
    return model, variables, jnp.asarray(images, jnp.float32)


def _compiled(name, function):
    return jax.jit(function) if name.startswith("googlenet") else function


def _gradients(model, variables, images, train):
    """Of the cross entropy of all heads, by parameter."""
    rest = {kind: value for kind, value in variables.items() if kind != "params"}
    labels = jnp.arange(4) % CLASSES

    def loss(params):
        logits, sown = model.apply(
            {"params": params, **rest},
            images,
            train=train,
            rngs={"dropout": jax.random.key(1)},
            mutable=["batch_stats", "aux_logits"],
        )
        heads = [logits, *jax.tree.leaves(sown.get("aux_logits", {}))]
        return -sum(jnp.mean(jax.nn.log_softmax(z)[jnp.arange(4), labels]) for z in heads), logits

    grads, logits = jax.grad(loss, has_aux=True)(variables["params"])
    return flatten_dict(grads), logits


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns_training_differs_and_bf16_is_near(name):
    model, variables, images = _network(name)
    run = _compiled(name, functools.partial(_gradients, model, train=True))
    grads, trained = run(variables, images)
    before_norm = set()
    if name.startswith("vgg") and model.norm is not None:
        # BatchNorm takes away the mean, and with it all that the bias before it could do.
        before_norm = {path for path in grads if path[-2:] == ("conv", "bias")}
        evaluated = _gradients(model, variables, images, train=False)[0]
        grads |= {path: evaluated[path] for path in before_norm}
    for path, grad in grads.items():
        assert np.isfinite(grad).all() and np.any(grad), "/".join(path)

    exact = _compiled(name, functools.partial(model.apply, train=False))(variables, images)
    stochastic = getattr(model, "norm", None) is not None or getattr(model, "dropout", 0)
    assert np.allclose(trained, exact, rtol=1e-3, atol=1e-3) != bool(stochastic)

    rough_model = model.clone(dtype=jnp.bfloat16)
    apply = _compiled(name, functools.partial(rough_model.apply, train=False))
    rough = apply(variables, images)
    assert rough.dtype == jnp.float32
    assert np.linalg.norm(rough - exact) / np.linalg.norm(exact) < BF16
