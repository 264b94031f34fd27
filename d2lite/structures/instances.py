"""Instances: what is known about the objects of one image, in fields of one common length."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from d2lite.utils.errors import ArgumentError

__all__ = ["Instances", "split_rows"]


class Instances:
    """The objects of one image: fields such as `gt_boxes` or `scores`, row i for object i.

    A field is set and read as an attribute. It holds anything that has a length and can be
    indexed: a tensor, `Boxes`, `BitMasks`, a list.

        >>> found = Instances((480, 640), scores=torch.tensor([0.9, 0.2]))
        >>> found.pred_classes = torch.tensor([3, 7])
        >>> found[found.scores > 0.5].pred_classes
        tensor([3])
    """

    _image_size: tuple[int, int]
    _fields: dict[str, Any]

    def __init__(self, image_size: tuple[int, int], **kwargs: Any) -> None:
        """Start a set of objects.

        Args:
            image_size: (height, width) of the image that coordinates refer to, in pixels.
            **kwargs: the first fields.
        """
        self._image_size = image_size
        self._fields = {}
        for name, value in kwargs.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the image, in pixels."""
        return self._image_size

    def __setattr__(self, name: str, val: Any) -> None:
        """Set a field; names with a leading underscore are ordinary attributes."""
        keep = super().__setattr__ if name.startswith("_") else self.set
        keep(name, val)

    def __getattr__(self, name: str) -> Any:
        """Read a field.

        Raises:
            AttributeError: if it is not set; the message lists those that are.
        """
        # Copying and unpickling look for attributes before there is a _fields.
        fields = self.__dict__.get("_fields", {})
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise AttributeError(f"Instances have no field '{name}'; they have: {known}.")
        return fields[name]

    def set(self, name: str, value: Any) -> None:
        """Set or replace a field.

        Args:
            name: of the field.
            value: of the length that the other fields have.

        Raises:
            ArgumentError: if its length is another, or the name is one of the class.
        """
        if hasattr(type(self), name):
            raise ArgumentError(
                f"'{name}' is an attribute of Instances itself; choose another name for the field. "
                "(Another image_size needs new Instances.)"
            )
        try:
            length = len(value)
        except TypeError as err:
            raise ArgumentError(
                f"Field '{name}' is a {type(value).__name__} without a length; "
                "give one entry for each object."
            ) from err
        for other, held in self._fields.items():
            if other != name and len(held) != length:
                raise ArgumentError(
                    f"Field '{name}' has {length} entries, but '{other}' has {len(held)}; "
                    "all fields of Instances have one entry for each object."
                )
        self._fields[name] = value

    def has(self, name: str) -> bool:
        """Whether a field of this name is set."""
        return name in self._fields

    def remove(self, name: str) -> None:
        """Drop a field.

        Raises:
            KeyError: if it is not set.
        """
        del self._fields[name]

    def get(self, name: str) -> Any:
        """The field of this name.

        Raises:
            KeyError: if it is not set.
        """
        return self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        """All fields by name: the dict that is used, not a copy."""
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> "Instances":
        """New instances whose fields went through their own `to`; a field without one is kept."""
        return self._with_each(
            lambda value: value.to(*args, **kwargs) if hasattr(value, "to") else value
        )

    # Not Callable[[Any], Any]: TorchScript reads the annotations and fails at the list.
    def _with_each(self, change: Callable[..., Any]) -> "Instances":
        changed = {name: change(value) for name, value in self._fields.items()}
        return Instances(self._image_size, **changed)

    def __getitem__(self, item: int | slice | Tensor) -> "Instances":
        """Pick objects by an integer (one object), a slice, a bool mask or indices.

        Raises:
            IndexError: if an integer is out of range.
        """
        if isinstance(item, (int, np.integer)):
            count = len(self)
            if not -count <= item < count:
                raise IndexError(f"Index {item} is out of range; there are {count} instances.")
            item = slice(item % count, item % count + 1)
        elif self._is_mask(item):
            # Searched once and not for each field: a GPU is waited for at each search.
            item = item.nonzero()[:, 0]
        return self._with_each(lambda value: _pick(value, item))

    def _is_mask(self, item: Any) -> TypeGuard[Tensor]:
        is_bool = isinstance(item, Tensor) and item.dtype == torch.bool
        return is_bool and bool(self._fields) and item.shape == (len(self),)

    def __len__(self) -> int:
        """How many objects there are.

        Raises:
            NotImplementedError: if no field is set yet, so that nothing says how many.
        """
        if not self._fields:
            raise NotImplementedError(
                "Instances without a field have no length; set a field first."
            )
        return len(next(iter(self._fields.values())))

    def __iter__(self) -> Iterator[Any]:
        """Refused: it is not plain whether fields or objects should come.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "Instances cannot be iterated; use get_fields() for fields, or index one object."
        )

    @staticmethod
    def cat(instance_lists: "Sequence[Instances]") -> "Instances":
        """The objects of several sets of one image in one.

        Args:
            instance_lists: at least one, all of one image size. The fields of the first are
                joined; others have them too, and lose what they have beyond.

        Raises:
            ArgumentError: if there is none, or they do not fit together.
        """
        if not instance_lists:
            raise ArgumentError("Instances.cat() got no instances; give at least one.")
        first = instance_lists[0]
        if len(instance_lists) == 1:
            return first
        for other in instance_lists[1:]:
            if other.image_size != first.image_size:
                raise ArgumentError(
                    f"Instances of images {first.image_size} and {other.image_size} cannot be "
                    "joined; give instances of one image."
                )
            if not first._fields.keys() <= other._fields.keys():
                raise ArgumentError(
                    f"Instances with fields [{', '.join(first._fields)}] and "
                    f"[{', '.join(other._fields)}] cannot be joined; set or remove fields."
                )
        joined = {
            name: _join(name, [each.get(name) for each in instance_lists]) for name in first._fields
        }
        return Instances(first.image_size, **joined)

    def __str__(self) -> str:
        """Numbers and fields; it works without fields too."""
        height, width = self._image_size
        count = len(self) if self._fields else 0
        fields = ", ".join(f"{name}: {value}" for name, value in self._fields.items())
        return (
            f"Instances(num_instances={count}, image_height={height}, image_width={width}, "
            f"fields=[{fields}])"
        )

    __repr__ = __str__


def _pick(value: Any, item: slice | Tensor) -> Any:
    if isinstance(value, np.ndarray) and isinstance(item, Tensor):
        # numpy takes a tensor of one index for that index, and drops the axis.
        return value[item.cpu().numpy()]
    if not isinstance(value, (list, tuple)) or isinstance(item, slice):
        return value[item]
    # A list cannot be indexed by masks or by lists of indices.
    rows = torch.as_tensor(item)
    chosen = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows.flatten()
    return type(value)(value[i] for i in chosen.tolist())


def _join(name: str, values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(values)
    if isinstance(first, (list, tuple)):
        return type(first)(chain.from_iterable(values))
    if hasattr(type(first), "cat"):
        return type(first).cat(values)
    raise ArgumentError(
        f"Field '{name}' holds {type(first).__name__}, which cannot be joined; "
        "use a tensor, a list or a class with a static method cat()."
    )


def split_rows(rows: Tensor, instances: Sequence[Instances]) -> tuple[Tensor, ...]:
    """Rows of all images, as many for each image as it has objects.

    Args:
        rows: (R, ...), R the number of objects of all images.
        instances: of each image, with a field that is a tensor or boxes.
    """
    counts = []
    for of_image in instances:
        fields = of_image.get_fields().values()
        tensors = [getattr(field, "tensor", field) for field in fields]
        # Not len(), which in a trace becomes a constant.
        counts.append(next(t.shape[0] for t in tensors if isinstance(t, Tensor)))
    parts: tuple[Tensor, ...] = rows.split(counts)
    return parts
