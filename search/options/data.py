"""Options that say which images are learned, and which of them are kept for measuring."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel

from isoshare.search.options.definition import FROZEN, option

if TYPE_CHECKING:
    from isoshare.evaluators.data.splits import DataOptions


class DataConfig(BaseModel):
    """The data set."""

    model_config = FROZEN
    GROUP: ClassVar = "Data"

    dataset: str = option(
        "digits",
        "The images: digits, cifar10, cifar100, svhn, fashion_mnist, or folder:PATH with "
        "train/CLASS/ and test/CLASS/, or CLASS/; or package.module:function of your own, for data "
        "of any kind.",
        metavar="D",
    )
    subset: int | None = option(
        help="Use only this many training images, stratified by class.", metavar="N", ge=1, le=2**40
    )
    resolution: int | None = option(
        help="Shrink images to NxN pixels.", metavar="N", ge=1, le=2**14
    )
    channels: Literal[1, 3] | None = option(
        help="Convert images to greyscale, or repeat the grey channel.", metavar="1|3"
    )
    data_folder: str | None = option(
        help="The folder that downloads are read from, or go to.",
        metavar="DIR",
        shown="the cache folder",
        min_length=1,
    )
    validation: float = option(
        0.2,
        "The fraction of the training images that is kept for measuring.",
        metavar="X",
        gt=0,
        lt=1,
    )

    @property
    def data_options(self) -> DataOptions:
        """What is asked of the data set."""
        from isoshare.evaluators.data.splits import DataOptions  # brings numpy

        return DataOptions(self.subset, self.resolution, self.channels, self.data_folder)
