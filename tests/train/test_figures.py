"""Photos of a dataset shown to a network: whose names the classes have."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from jaxcnn import create_model
from jaxcnn.data import open_source
from jaxcnn.preprocess import Preprocess
from jaxcnn.train import Network, TrainConfig
from jaxcnn.train.figures import make_subject

NUMBERS = tuple("0123456789")
SIZE = Preprocess((8, 8), 1, (0.5,), (0.5,), resize="none")


@pytest.fixture(scope="module")
def network() -> Network:
    """Bare weights."""
    model = create_model("mlp")
    variables = model.init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32), train=False)
    return Network("mlp", model, variables, SIZE, NUMBERS, "mlp.npz")


@pytest.mark.parametrize(
    ("names", "is_run", "shown"),
    [
        (NUMBERS, False, True),
        (NUMBERS[::-1], True, True),  # the same classes in another order
        (tuple(f"digit {n}" for n in NUMBERS), False, False),  # --class-names
        ((*NUMBERS, "none"), True, True),
        ((*NUMBERS, "10"), False, False),
    ],
)
def test_a_network_that_knows_its_classes_keeps_their_names(network, names, is_run, shown):
    config = TrainConfig(model="mlp") if is_run else None
    network = dataclasses.replace(network, class_names=names, config=config)
    source = open_source("digits", "test")
    subject = make_subject(network, source, 3)
    assert tuple(subject.class_names) == names
    wanted = [str(source[i].label) for i in range(3)] if shown else []
    assert list(subject.truths) == wanted


def test_bare_weights_take_the_dataset_s_names_where_the_numbers_agree(network):
    source = open_source("digits", "test")
    source.class_names = tuple(f"digit {n}" for n in NUMBERS)
    subject = make_subject(network, source, 3)
    assert tuple(subject.class_names) == source.class_names
    assert list(subject.truths) == [f"digit {source[i].label}" for i in range(3)]
