"""Summaries of well-known and of users' own networks."""

from __future__ import annotations

import csv
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.analysis import TraceError, compare, conv_layer, summarize


class VGG16(nn.Module):
    """Configuration D of Simonyan and Zisserman 2014, in plain Flax."""

    num_classes: int = 1000

    @nn.compact
    def __call__(self, x, *, train):
        for stage, (width, count) in enumerate(
            ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1
        ):
            for i in range(1, count + 1):
                x = nn.relu(nn.Conv(width, (3, 3), padding=1, name=f"conv{stage}_{i}")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        for i in (6, 7):
            x = nn.Dropout(0.5, deterministic=not train)(nn.relu(nn.Dense(4096, name=f"fc{i}")(x)))
        return nn.Dense(self.num_classes, name="fc8")(x)


@pytest.fixture(scope="module")
def vgg16():
    return summarize(VGG16(), image_size=224)


def test_vgg16_is_the_table_of_cs231n_with_its_sum_put_right(vgg16):
    assert vgg16.total_params == 138_357_544
    # The slide's rows, input included: 150K, 3.2M, 3.2M, 800K, 1.6M, ... and their true sum.
    values = [row.activations for row in vgg16.rows]
    assert values[:6] == [150_528, 3_211_264, 3_211_264, 802_816, 1_605_632, 1_605_632]
    assert vgg16.activations == sum(values) == 15_237_608
    assert vgg16.activation_bytes == 4 * 15_237_608
    assert max(vgg16.rows, key=lambda r: r.params).name == "fc6"
    assert vgg16["fc6"].params == 102_764_544
    assert vgg16["fc6"].share == pytest.approx(0.7427, abs=1e-4)
    assert vgg16["conv2_1"].params == 3 * 3 * 64 * 128 + 128
    assert max(vgg16.rows, key=lambda r: r.activation_bytes).name == "conv1_1"


def test_vgg16_costs_and_sees_what_hand_calculation_says(vgg16):
    macs = [
        conv_layer((n, n, c), f, 3, padding=1).macs
        for n, c, f in [(224, 3, 64), (224, 64, 64), (112, 64, 128), (112, 128, 128)]
        + [(56, 128, 256), (56, 256, 256), (56, 256, 256), (28, 256, 512), (28, 512, 512)]
        + [(28, 512, 512)]
        + [(14, 512, 512)] * 3
    ]
    dense = [25088 * 4096, 4096 * 4096, 4096 * 1000]
    assert [r.macs for r in vgg16.rows if r.macs] == macs + dense
    assert vgg16.total_macs == 15_470_264_320
    assert vgg16.total_flops == 2 * vgg16.total_macs
    assert vgg16.depth == 16
    last = vgg16["max_pool_5"]
    assert (last.receptive_field, last.effective_stride, last.effective_padding) == (
        (212, 212),
        (32, 32),
        (90, 90),
    )
    assert vgg16["fc6"].receptive_field == (404, 404)
    assert vgg16["fc6"].effective_stride is None
    assert vgg16.receptive_field == (212, 212)
    assert vgg16.output_shape == (1, 1000)


def test_counts_are_for_the_whole_batch(vgg16):
    batch = summarize(VGG16(), image_size=224, batch_size=4)
    assert batch.total_macs == 4 * vgg16.total_macs
    assert batch.activations == 4 * vgg16.activations
    assert batch.total_params == vgg16.total_params


@pytest.mark.parametrize(
    "name", ["Plain", "Same", "Branches", "OptionA", "Slices", "Lifted", "SpaceToDepth", "Gated"]
)
def test_rows_add_up_to_the_parameters(build, name):
    model = build(name)
    variables = model.init(jax.random.key(0), jnp.ones((1, 14, 12, 3)))
    count = sum(np.size(p) for p in jax.tree.leaves(variables["params"]))
    summary = summarize(model, image_size=(14, 12))
    assert summary.total_params == count
    assert sum(row.params for row in summary.rows) == count
    assert sum(row.share for row in summary.rows) == pytest.approx(1)
    assert len({row.name for row in summary.rows}) == len(summary.rows)


def test_a_convolution_written_as_slices_costs_what_it_costs(build):
    summary = summarize(build("Slices"), image_size=8)
    assert summary.total_macs == conv_layer((8, 8, 3), 4, 3, padding=1).macs


def test_lifted_modules_keep_their_names_and_scanned_ones_count_every_turn(build):
    summary = summarize(build("Lifted"), image_size=8)
    assert summary["jitted"].macs == 64 * 27 * 4
    assert summary["remat"].macs == 16 * 36 * 4
    assert summary["scanned/conv"].macs == 3 * 16 * 36 * 4
    assert summary["scanned/conv"].params == 3 * (36 * 4 + 4)


class Mixed(nn.Module):
    """lax calls with the module's own parameters, a shared layer, a head that is not called."""

    @nn.compact
    def __call__(self, x, *, train):
        kernel = self.param("kernel", nn.initializers.ones, (3, 3, x.shape[-1], 8))
        scale = self.param("scale", nn.initializers.ones, (8,))
        second = self.param("second", nn.initializers.ones, (1, 1, 8, 8))
        dims = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dims) * scale
        x = jax.lax.conv_general_dilated(x, second, (2, 2), "VALID", dimension_numbers=dims)
        shared = nn.Conv(8, (3, 3), padding=1, use_bias=False, name="shared")
        x = shared(nn.relu(shared(x)))
        x = nn.GroupNorm(2, name="norm")(x)
        if self.is_initializing() or train:
            nn.Dense(5, name="auxiliary")(x.reshape(x.shape[0], -1))
        return nn.Dense(3, name="head")(x.mean(axis=(1, 2)))


def test_parameters_go_to_the_operation_that_uses_them():
    summary = summarize(Mixed(), image_size=8)
    assert summary["conv"].params == 3 * 3 * 3 * 8 + 8
    assert summary["conv_2"].params == 64
    assert summary["conv_2"].stride == (2, 2)
    assert summary["norm"].params == 16
    assert summary["norm"].kind == "group norm"
    assert summary["norm"].activations == 0
    assert summary["auxiliary"].kind == "not called"
    assert summary.idle_params == 4 * 4 * 8 * 5 + 5
    assert [r.name for r in summary.rows if "pool" in r.kind] == ["global_average_pool"]
    shared = [r for r in summary.rows if r.name.startswith("shared")]
    assert [r.params for r in shared] == [576, 0]
    assert [r.macs for r in shared] == [16 * 576, 16 * 576]
    assert sum(r.params for r in summary.rows) == summary.total_params


def test_nothing_is_allocated_for_a_network_that_would_not_fit():
    model = nn.Dense(10_000_000, use_bias=False)  # 150528 x 10^7 weights are 6 TB
    summary = summarize(nn.Sequential([lambda x: x.reshape(x.shape[0], -1), model]), 224)
    assert summary.total_params == 150528 * 10_000_000


def test_half_precision_halves_the_activations_not_the_parameters():
    full = summarize(nn.Conv(8, (3, 3)), image_size=8)
    half = summarize(nn.Conv(8, (3, 3), dtype=jnp.bfloat16), image_size=8)
    assert half["conv"].activation_bytes == full["conv"].activation_bytes // 2
    assert half.param_bytes == full.param_bytes == 4 * 224


def test_every_format_holds_the_same_numbers(vgg16):
    record = json.loads(vgg16.to_json())
    assert record["total_params"] == 138_357_544
    assert record["total_macs"] * 2 == record["total_flops"] == 30_940_528_640
    assert record["rows"][1]["name"] == "conv1_1"
    lines = list(csv.DictReader(io.StringIO(vgg16.to_csv())))
    assert [int(line["params"]) for line in lines] == [r["params"] for r in record["rows"]]
    assert lines[1]["output_shape"] == "1x224x224x64"
    for page in (vgg16.to_text(160), vgg16.to_markdown(), vgg16.to_html()):
        for word in ("conv1_1", "102,764,544", "138,357,544", "15,470,264,320", "30,940,528,640"):
            assert word in page, word
    assert "http" not in vgg16.to_html()


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_text_fits_its_terminal(vgg16, width):
    lines = vgg16.to_text(width).splitlines()
    assert max(map(len, lines)) <= width
    names = {line.split()[0] for line in lines if line.strip()}
    assert {row.name for row in vgg16.rows} <= names


def test_comparison_has_ratios_to_the_first():
    both = compare([VGG16(), VGG16(num_classes=10)], image_size=32)
    first, second = both.records
    assert first["params_ratio"] == 1
    assert second["params_ratio"] == second["params"] / first["params"]
    assert first["conv_params"] == 14_714_688
    assert f"{first['params']:,}" in both.to_text(80)
    assert json.loads(both.to_json())[1]["params"] == second["params"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: summarize("cifar_resnet21"), ValueError, "did you mean 'cifar_resnet"),
        (lambda: summarize(VGG16()), ValueError, "image_size is needed for a module"),
        (lambda: summarize(VGG16(), 0), ValueError, "image_size=0 cannot work"),
        (lambda: summarize(VGG16(), 32, channels=0), ValueError, "channels=0 cannot work"),
        (lambda: summarize(VGG16(), 32, 0), ValueError, "batch_size=0 cannot work"),
        (lambda: summarize(VGG16(), (1, 2, 3)), ValueError, "give one number, or"),
        (lambda: summarize(42, 32), TypeError, "not a flax.linen module"),
        (lambda: summarize(VGG16(), 16), TraceError, r"\[1, 16, 16, 3\].* at least 32x32"),
        (lambda: summarize(nn.Conv(4, (3, 3), feature_group_count=2), 8), TraceError, "larger"),
        (lambda: summarize(nn.Embed(4, 4), 8), TraceError, "the module or its arguments"),
        (lambda: compare([]), ValueError, "nothing to compare"),
    ],
)
def test_errors_name_the_cause_and_the_remedy(call, error, message):
    with pytest.raises(error, match=f"(?i){message}"):
        call()


def test_numpys_integers_are_image_sizes():
    assert summarize("lenet5", np.int64(32)).total_params == 61706


def test_an_unknown_layer_suggests_the_near_ones(vgg16):
    with pytest.raises(ValueError, match="no layer 'fc9' in this summary; did you mean 'fc"):
        vgg16["fc9"]
