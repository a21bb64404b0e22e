"""tf.data's side of an input measurement, run by an interpreter that has TensorFlow.

    python tfdata.py FOLDER CORES BATCH SIZE

The usual ImageNet pipeline over the photos of FOLDER, held in memory: a distorted bounding box, the
fused decode_and_crop_jpeg, a bilinear resize, batches of uint8. Answers each line on its input, a
number of batches, with the processor seconds that they took. Imports nothing of jaxcnn.
"""

import json
import pathlib
import sys
import time
from typing import Any


def view(tf: Any, image: Any, seed: Any, side: int) -> Any:
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.io.extract_jpeg_shape(image),
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
    return tf.cast(tf.image.resize(pixels, (side, side)), tf.uint8)


def main() -> None:
    import tensorflow as tf

    folder, (cores, batch, side) = pathlib.Path(sys.argv[1]), map(int, sys.argv[2:5])
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
    options = tf.data.Options()
    options.threading.private_threadpool_size = cores
    options.threading.max_intra_op_parallelism = 1
    photos = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    images = tf.data.Dataset.from_tensor_slices(photos).repeat()
    rows = tf.data.Dataset.zip(images, tf.data.Dataset.counter(dtype=tf.int64))
    rows = rows.map(lambda image, seed: view(tf, image, seed, side), num_parallel_calls=cores)
    stream = rows.batch(batch).prefetch(2).with_options(options).as_numpy_iterator()
    for line in sys.stdin:
        began = time.process_time()
        for _ in range(int(line)):
            next(stream)
        print(json.dumps(time.process_time() - began), flush=True)


if __name__ == "__main__":
    main()
