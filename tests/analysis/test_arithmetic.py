"""Layer arithmetic against hand calculations, against PyTorch's rules, and against the program."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.analysis import conv_layer, dense_layer, output_size, pool_layer


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"size": 32, "kernel": 5, "padding": 2}, 32),
        ({"size": 7, "kernel": 3}, 5),
        ({"size": 7, "kernel": 3, "stride": 2}, 3),
        ({"size": 227, "kernel": 11, "stride": 4}, 55),
        ({"size": 224, "kernel": 11, "stride": 4, "padding": 2}, 55),
        ({"size": 224, "kernel": 7, "stride": 2, "padding": 3}, 112),
        ({"size": 224, "kernel": 3, "stride": 2, "padding": (0, 1)}, 112),
        ({"size": 32, "kernel": 3, "dilation": 2}, 28),
        ({"size": 112, "kernel": 3, "stride": 2, "ceil_mode": True}, 56),
        ({"size": 112, "kernel": 3, "stride": 2}, 55),
        # A second window would start in the padding on the right: PyTorch drops it.
        ({"size": 2, "kernel": 1, "stride": 3, "padding": (0, 1), "ceil_mode": True}, 1),
    ],
)
def test_output_size_is_what_the_books_say(arguments, expected):
    assert output_size(**arguments) == expected


def test_output_size_is_what_the_convolution_gives():
    for size in (5, 8, 13):
        for kernel in (1, 2, 3, 5):
            for stride in (1, 2, 3):
                for padding in (0, 1, (2, 0)):
                    for dilation in (1, 2):
                        low, high = (padding, padding) if isinstance(padding, int) else padding
                        if dilation * (kernel - 1) + 1 > size + low + high:
                            continue
                        out = jax.eval_shape(
                            lambda x, k, s=stride, p=(low, high), d=dilation: (
                                jax.lax.conv_general_dilated(x, k, [s], [p], rhs_dilation=[d])
                            ),
                            jax.ShapeDtypeStruct((1, 1, size), jnp.float32),
                            jax.ShapeDtypeStruct((1, 1, kernel), jnp.float32),
                        )
                        assert out.shape[-1] == output_size(
                            size, kernel, stride=stride, padding=padding, dilation=dilation
                        )


def test_ten_5x5x3_filters_with_bias_have_760_parameters():
    facts = conv_layer((32, 32, 3), 10, 5, padding=2)
    assert facts.params == 760
    assert facts.output_shape == (32, 32, 10)
    assert facts.macs == 750 * 32 * 32
    assert facts.flops == 2 * facts.macs
    assert facts.activations == 10240


def test_groups_divide_the_weights():
    whole = conv_layer((14, 14, 64), 128, 3, padding=1, use_bias=False)
    grouped = conv_layer((14, 14, 64), 128, 3, padding=1, groups=4, use_bias=False)
    assert whole.params == 4 * grouped.params == 73728
    assert whole.macs == 4 * grouped.macs


def test_alexnet_and_vgg_layers_have_their_published_counts():
    assert conv_layer((227, 227, 3), 96, 11, stride=4).params == 34944
    assert pool_layer((55, 55, 96), 3, stride=2).output_shape == (27, 27, 96)
    fc6 = dense_layer((7, 7, 512), 4096, use_bias=False)
    assert fc6.params == fc6.macs == 102_760_448


def test_numpy_integers_count_as_any_and_do_not_overflow():
    n = np.int8
    facts = conv_layer(
        (n(112), n(112), n(64)), n(127), (n(3), n(3)), stride=n(1), padding=n(1), dilation=n(1)
    )
    assert facts == conv_layer((112, 112, 64), 127, 3, padding=1)
    assert output_size(np.int64(224), np.int32(7), stride=n(2), padding=(n(3), n(3))) == 112
    assert pool_layer((n(8), n(8), n(3)), n(2)) == pool_layer((8, 8, 3), 2)
    assert dense_layer(n(100), n(100)) == dense_layer(100, 100)
    assert type(dense_layer(n(100), n(100)).macs) is int


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: output_size(4, 7), "size of at least 7, a padding that adds 3 more, or a kernel"),
        (lambda: output_size(10, 3, stride=3, strict=True), "7 / 3 is not whole; sizes 9 and 12"),
        (lambda: output_size(10, 3, stride=0), "stride=0 cannot work"),
        (lambda: output_size(0, 3), "size=0 cannot work"),
        (lambda: output_size(8, 3, padding=-1), "padding=-1 cannot work"),
        (lambda: conv_layer((8, 8, 6), 8, 3, groups=4), r"channels=6 .* one of \[1, 2\] groups"),
        (lambda: conv_layer((8, 8), 8, 3), r"must be \(height, width, channels\)"),
        (lambda: conv_layer((8, 8, 3), 8, (3, 3, 3)), "give one number, or"),
        (lambda: pool_layer((1, 8, 3), 2), "kernel of 2 .* spans 2 pixels, but size 1"),
        (lambda: dense_layer((7, 0), 10), "input_shape=0 cannot work"),
    ],
)
def test_errors_say_what_cannot_work_and_what_would(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_remedies_of_strict_work():
    assert output_size(9, 3, stride=3, strict=True) == 3
    assert output_size(12, 3, stride=3, strict=True) == 4
    assert output_size(10, 3, stride=1, strict=True) == 8
