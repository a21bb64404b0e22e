"""The compiled parts. Without a compiler, or what they need, the install goes on without them.

The metadata stands in pyproject.toml; a file is needed because the folder of XLA's headers is known
only when jaxlib is installed.
"""

from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup

# The fast JPEG path needs libjpeg-turbo's headers, that of small PNGs zlib's; without them Pillow
# decodes, to the same pixels.
extensions = [
    Extension(
        "jaxcnn.data._jpeg",
        ["jaxcnn/data/csrc/jpeg.c"],
        depends=["jaxcnn/data/csrc/resample.h", "jaxcnn/data/csrc/whole.h"],
        libraries=["jpeg"],
        extra_compile_args=["-O3", "-ffp-contract=off"],
        py_limited_api=True,
        optional=True,
    ),
    Extension(
        "jaxcnn.data._png",
        ["jaxcnn/data/csrc/png.c"],
        depends=["jaxcnn/data/csrc/whole.h"],
        libraries=["z"],
        extra_compile_args=["-O3"],
        py_limited_api=True,
        optional=True,
    ),
]

# Convolutions for CPUs; without them XLA's own, to the same values within rounding.
if jaxlib := find_spec("jaxlib"):
    (folder,) = jaxlib.submodule_search_locations or ("",)
    extensions.append(
        Extension(
            "jaxcnn.nn._conv",
            ["jaxcnn/nn/csrc/module.cc"],
            depends=sorted(map(str, Path("jaxcnn/nn/csrc").glob("*.h"))),
            include_dirs=[str(Path(folder) / "include")],
            language="c++",
            extra_compile_args=["-O3", "-std=c++17", "-w"],
            py_limited_api=True,
            optional=True,
        )
    )

setup(ext_modules=extensions)
