"""tf.data's side of benchmarks/input_pipeline.py: python tfdata_pipeline.py FOLDER CORES

The usual ImageNet pipeline: a distorted bounding box, the fused decode_and_crop_jpeg, a bilinear
resize to 224, batches of 64 as uint8. Needs TensorFlow, and nothing of jaxcnn.
"""

import json
import pathlib
import sys
import time

import tensorflow as tf


def view(image, seed):
    shape = tf.io.extract_jpeg_shape(image)
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.zeros([1, 0, 4]),
        seed=tf.stack([seed, 0]),
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    window = tf.concat([begin[:2], size[:2]], 0)
    pixels = tf.io.decode_and_crop_jpeg(image, window, channels=3)
    return tf.cast(tf.image.resize(pixels, (224, 224)), tf.uint8)


def main() -> None:
    folder, cores = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
    options = tf.data.Options()
    options.threading.private_threadpool_size = cores
    options.threading.max_intra_op_parallelism = 1
    photos = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    images = tf.data.Dataset.from_tensor_slices(photos).repeat()
    rows = tf.data.Dataset.zip(images, tf.data.Dataset.counter(dtype=tf.int64))
    batches = rows.map(view, num_parallel_calls=cores).batch(64).prefetch(2).with_options(options)
    stream = batches.as_numpy_iterator()
    for _ in range(4):
        next(stream)
    count = 24
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        next(stream)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"images": count * 64, "wall": wall, "cpu": cpu}))


if __name__ == "__main__":
    main()
