"""A folder of images, one subfolder for each class."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxcnn.data.errors import DataError, unknown_name
from jaxcnn.data.source import Example, hash_identity

EXTENSIONS = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
# A folder without splits is cut into these parts; `val` gets this share of each class.
PARTS = ("all", "train", "val")
VAL_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class _File:
    path: str  # relative to the root, with forward slashes
    size: int
    label: int


class FolderSource:
    """One split of an image folder; the files are read when they are asked for."""

    def __init__(
        self,
        name: str,
        split: str,
        root: pathlib.Path,
        class_names: Sequence[str],
        files: list[_File],
    ) -> None:
        self.name, self.split = name, split
        self.class_names = tuple(class_names)
        self.image_shape: tuple[int | None, ...] = (None, None, 3)
        self.num_bytes = sum(file.size for file in files)
        self.fingerprint = hash_identity(
            split, self.class_names, [(file.path, file.size) for file in files]
        )
        self._root = root
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        file = self._files[index]
        return Example((self._root / file.path).read_bytes(), file.label, file.path)

    def key(self, index: int) -> str:
        """The file's path below the root."""
        return self._files[index].path

    def labels(self) -> np.ndarray:
        """The label of every example, int64 `[N]`; opens no file."""
        return np.asarray([file.label for file in self._files], np.int64)


def open_folder(name: str, split: str) -> FolderSource:
    """Opens `folder:PATH`: `PATH/class/image` or `PATH/split/class/image`.

    Classes are the folders' names in sorted order; with splits, the union over all splits, so
    that a label means the same in each. Without splits, `all` is every image, `val` a fixed fifth
    of each class (by a hash of the path) and `train` the rest. Hidden names are skipped, symbolic
    links are followed, files without an image's extension are ignored.

    Raises:
      DataError: no such folder or split, an empty class folder, images beside class folders,
        folders inside a class folder, a broken link.
    """
    root = pathlib.Path(name.partition(":")[2]).expanduser()
    if not root.is_dir():
        raise DataError(f"{name!r}: {root} is no folder; give the folder that holds the classes.")
    top = _subfolders(root)
    if not top:
        raise DataError(f"{name!r}: {root} has no class folders. {_LAYOUT}")
    flat = [folder for folder in top if _has_images(folder)]
    nested = [folder for folder in top if any(_has_images(sub) for sub in _subfolders(folder))]
    if flat and nested:
        raise DataError(
            f"{name!r}: {flat[0].name}/ holds images and {nested[0].name}/ holds folders of "
            f"images. {_LAYOUT}"
        )
    if not flat and not nested:
        raise DataError(f"{name!r}: no images below {root}. {_LAYOUT}")
    if flat:
        classes = [folder.name for folder in top]
        files = _collect(name, root, root, classes)
        if split not in PARTS:
            raise unknown_name(f"split of {name!r}:", split, PARTS)
        return FolderSource(name, split, root, classes, _part(files, split))
    splits = [folder.name for folder in top]
    if split not in splits:
        raise unknown_name(f"split of {name!r}:", split, splits)
    classes = sorted({sub.name for folder in top for sub in _subfolders(folder)})
    return FolderSource(name, split, root, classes, _collect(name, root, root / split, classes))


_LAYOUT = "Lay images out as PATH/class/image.jpg, or as PATH/split/class/image.jpg."


def _collect(
    name: str, root: pathlib.Path, folder: pathlib.Path, classes: Sequence[str]
) -> list[_File]:
    """The images of the class folders in `folder`, in order of class and file name."""
    files = []
    for label, class_name in enumerate(classes):
        class_dir = folder / class_name
        if not class_dir.is_dir():
            continue
        images = image_files(class_dir)
        if not images:
            raise DataError(
                f"{name!r}: class folder {class_dir} holds no images. Add some or remove it."
            )
        if inner := _subfolders(class_dir):
            raise DataError(
                f"{name!r}: class folder {class_dir} holds a folder, {inner[0].name!r}, whose "
                "images would be left out. Move them up or away."
            )
        for entry in images:
            try:
                size = entry.stat().st_size
            except OSError as error:
                raise DataError(
                    f"{name!r}: {entry.path} cannot be read ({error.strerror}); is it a broken "
                    "link?"
                ) from error
            path = pathlib.Path(entry.path).relative_to(root).as_posix()
            files.append(_File(path, size, label))
    return files


def _part(files: list[_File], part: str) -> list[_File]:
    """The files of `all`, `train` or `val`, in their order.

    A class's files are ranked by a hash of their paths, so that the parts depend on nothing but
    the names, and adding a file moves at most a few others.
    """
    if part == "all":
        return files
    by_class: dict[int, list[_File]] = {}
    for file in files:
        by_class.setdefault(file.label, []).append(file)
    val: set[str] = set()
    for members in by_class.values():
        ranked = sorted(members, key=lambda file: hashlib.sha256(file.path.encode()).digest())
        count = round(len(members) * VAL_SHARE)
        val.update(file.path for file in ranked[: max(count, min(1, len(members) - 1))])
    return [file for file in files if (file.path in val) == (part == "val")]


def _subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    return [folder / name for name in names]


def _is_image(entry: os.DirEntry[str]) -> bool:
    extension = os.path.splitext(entry.name)[1].lower()
    return not entry.name.startswith(".") and extension in EXTENSIONS and not entry.is_dir()


def _has_images(folder: pathlib.Path) -> bool:
    with os.scandir(folder) as entries:
        return any(map(_is_image, entries))


def photo_files(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """The files themselves, and the images in folders, by name.

    Raises:
      ValueError: a folder without images.
    """
    found: list[pathlib.Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [pathlib.Path(entry.path) for entry in image_files(path)]
        if not inside:
            raise ValueError(
                f"{path} has no images in it; give files ({', '.join(sorted(EXTENSIONS))}), or a "
                "folder of them."
            )
        found += inside
    return found


def image_files(folder: pathlib.Path) -> list[os.DirEntry[str]]:
    """The images in a folder by name, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(filter(_is_image, entries), key=lambda entry: entry.name)
