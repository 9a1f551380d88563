"""The data set ``imdb``: the Large Movie Review Dataset."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import clsbench

CLASS_NAMES = ("negative", "positive")
FOLDERS = ("pos", "neg")

ARCHIVE = clsbench.Asset(
    key="imdb/aclImdb_v1.tar.gz",
    sources=(
        clsbench.WebFile(url="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"),
    ),
    sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
    size_bytes=84_125_825,
)


class Imdb(clsbench.Dataset, frozen=True):
    """Positive and negative film reviews, 25,000 for training and 25,000 for testing.

    The archive is read as a stream, without unpacking. Its splits are predefined
    (``data.split=predefined``).

    Source: Maas et al. 2011, *Learning Word Vectors for Sentiment Analysis*.
    """

    def assets(self) -> tuple[clsbench.Asset, ...]:
        """The archive."""
        return (ARCHIVE,)

    def load(self, files: clsbench.Files) -> clsbench.Corpus:
        """Read the labelled reviews, in the order in which the book's bonus script reads them.

        That is test before train, positive first, by file name as text.

        Raises:
            AssetError: the archive cannot be read.
        """
        reviews = sorted(_read(files[ARCHIVE.key]))
        return clsbench.Corpus(
            class_names=CLASS_NAMES,
            texts=[text for *_, text in reviews],
            labels=[1 - int(is_negative) for _, is_negative, *_ in reviews],
            splits=["train" if is_train else "test" for is_train, *_ in reviews],
        )


def _read(archive: Path) -> list[tuple[bool, bool, str, str]]:
    """Whether in the training split, whether negative, file name and text of every review."""
    import tarfile

    reviews = []
    try:
        with tarfile.open(archive, "r|gz") as stream:
            for member in stream:
                # aclImdb/train/pos/127_7.txt: review 127, rated 7 of 10
                _, split, folder, name, *_ = (*PurePosixPath(member.name).parts, *[""] * 4)
                if split in ("train", "test") and folder in FOLDERS and name.endswith(".txt"):
                    content = stream.extractfile(member)
                    if content is None:
                        continue
                    text = content.read().decode("utf-8")
                    reviews.append((split == "train", folder == "neg", name, text))
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise clsbench.AssetError(
            f"{archive} cannot be read as the archive of the IMDB reviews: {error}; delete it to "
            "download it again"
        ) from error
    if not reviews:
        raise clsbench.AssetError(
            f"{archive} contains no labelled reviews; is it aclImdb_v1.tar.gz?"
        )
    return reviews


@clsbench.hookimpl
def clsbench_register_datasets() -> dict[str, type[clsbench.Dataset]]:
    """The Large Movie Review Dataset."""
    return {"imdb": Imdb}
