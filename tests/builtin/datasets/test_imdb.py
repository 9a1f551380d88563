from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

import clsbench
from clsbench.builtin.datasets.imdb import ARCHIVE, Imdb
from clsbench.testing import check_dataset

REVIEWS = {
    "aclImdb/test/neg/10_1.txt": "Dull.",
    "aclImdb/test/neg/9_2.txt": "Dreary.",
    "aclImdb/test/pos/0_10.txt": "Fine.",
    "aclImdb/train/neg/0_3.txt": "Poor.<br />Very.",
    "aclImdb/train/pos/12_7.txt": "Bonne idée \u0085 really.",
    "aclImdb/train/unsup/0_0.txt": "Unlabelled.",
    "aclImdb/train/urls_pos.txt": "http://example.org",
    "aclImdb/README": "Large Movie Review Dataset v1.0",
}


def archive(path: Path, reviews: dict[str, str], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("aclImdb/train/pos")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, text in reviews.items():
            content = text.encode("utf-8")
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_imdb_labelled_reviews_are_read_in_a_fixed_order(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", REVIEWS)
    corpus = Imdb().load({ARCHIVE.key: path})
    assert corpus.class_names == ("negative", "positive")
    assert corpus.splits is not None
    assert list(zip(corpus.splits, corpus.labels, corpus.texts, strict=True)) == [
        ("test", 1, "Fine."),
        ("test", 0, "Dull."),
        ("test", 0, "Dreary."),
        ("train", 1, "Bonne idée \u0085 really."),
        ("train", 0, "Poor.<br />Very."),
    ]
    turned = archive(tmp_path / "b.tar.gz", dict(reversed(REVIEWS.items())))
    assert Imdb().load({ARCHIVE.key: turned}) == corpus
    check_dataset(Imdb(), {ARCHIVE.key: path})


def test_imdb_load_extracts_no_files(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", {**REVIEWS, "../aclImdb/train/pos/1_9.txt": "Out."})
    corpus = Imdb().load({ARCHIVE.key: path})
    assert "Out." not in corpus.texts
    assert list(tmp_path.iterdir()) == [path]


def damaged(path: Path) -> None:
    path.write_bytes(archive(path, REVIEWS).read_bytes()[:-60])


def no_archive(path: Path) -> None:
    path.write_bytes(b"<html>404</html>")


def no_reviews(path: Path) -> None:
    archive(path, {"README": "nothing"})


def latin_1(path: Path) -> None:
    archive(path, {"aclImdb/train/pos/1_9.txt": "x"})
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("aclImdb/train/pos/1_9.txt")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"\xe9"))


@pytest.mark.parametrize("damage", [damaged, no_archive, no_reviews, latin_1])
def test_imdb_bad_archive_raises_asset_error_that_names_it(damage: object, tmp_path: Path) -> None:
    path = tmp_path / "aclImdb_v1.tar.gz"
    damage(path)  # type: ignore[operator]
    with pytest.raises(clsbench.AssetError, match=r"aclImdb_v1\.tar\.gz"):
        Imdb().load({ARCHIVE.key: path})
