"""GoogLeNet's auxiliary heads take part in training, and only there."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn.models import create_model


def test_training_sows_the_logits_of_both_auxiliary_heads():
    model = create_model("googlenet", num_classes=7)
    images = jnp.zeros((2, 224, 224, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))

    def run(variables, train):
        return model.apply(
            variables,
            images,
            train=train,
            rngs={"dropout": jax.random.key(0)},
            mutable=["batch_stats", "aux_logits"],
        )

    logits, sown = jax.eval_shape(lambda v: run(v, True), variables)
    assert logits.shape == (2, 7)
    assert [x.shape for x in jax.tree.leaves(sown["aux_logits"])] == [(2, 7), (2, 7)]
    _, sown = jax.eval_shape(lambda v: run(v, False), variables)
    assert "aux_logits" not in sown and model.aux_weight == 0.3
