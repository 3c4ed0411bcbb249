import dataclasses
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from resbench.data import catalog
from resbench.data.catalog import ARCHIVES
from resbench.data.fetch import fetch
from resbench.data.sources import identify, load
from resbench.errors import EnvironmentFault, UsageError
from tests.data.archives import make_cifar_archive

FILENAME = ARCHIVES["cifar10"].filename


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder served by HTTP as if it were the CIFAR page, with a made archive in it."""
    folder = tmp_path / "served"
    folder.mkdir()
    md5 = str(make_cifar_archive(folder / FILENAME, "cifar10"))[-32:]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "*")
    stand_in = dataclasses.replace(ARCHIVES["cifar10"], md5=md5)
    monkeypatch.setitem(ARCHIVES, "cifar10", stand_in)
    url = f"http://127.0.0.1:{server.server_port}/{FILENAME}"
    monkeypatch.setattr(catalog.Archive, "url", url)
    yield folder
    server.shutdown()
    server.server_close()


def test_fetched_archive_is_verified_and_found_by_its_name(served: Path, tmp_path: Path) -> None:
    path = fetch("cifar10")
    assert path == tmp_path / "user-data" / FILENAME
    assert load(identify("cifar10", {})).train_images.shape == (50, 32, 32, 3)
    assert [item.name for item in path.parent.iterdir()] == [FILENAME]


def test_whole_archive_is_not_fetched_again(served: Path, tmp_path: Path) -> None:
    path = fetch("cifar10", tmp_path / "here")
    (served / FILENAME).unlink()
    before = path.stat()
    assert fetch("cifar10", tmp_path / "here").stat() == before


def test_damaged_archive_is_replaced(served: Path, tmp_path: Path) -> None:
    path = tmp_path / "here" / FILENAME
    path.parent.mkdir()
    path.write_bytes(b"half a download")
    assert fetch("cifar10", path.parent).read_bytes() == (served / FILENAME).read_bytes()


def test_wrong_download_is_refused_and_leaves_what_was_there(served: Path, tmp_path: Path) -> None:
    (served / FILENAME).write_bytes(b"<html>moved</html>")
    path = tmp_path / "here" / FILENAME
    path.parent.mkdir()
    path.write_bytes(b"half a download")
    with pytest.raises(EnvironmentFault, match="could not be fetched") as caught:
        fetch("cifar10", path.parent)
    assert ARCHIVES["cifar10"].md5 in str(caught.value)
    assert path.read_bytes() == b"half a download"
    assert [item.name for item in path.parent.iterdir()] == [FILENAME]


def test_without_a_network_it_says_what_to_download_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(EnvironmentFault) as caught:
        fetch("cifar100", tmp_path / "here")
    for part in (
        "Temporary failure in name resolution",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "MD5 eb9058c3a382ffc7106e4002c42a8d85",
        f"to {tmp_path / 'here' / 'cifar-100-python.tar.gz'}.",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="file/here"):
        fetch("cifar10", tmp_path / "file" / "here")


def test_what_is_not_published_is_not_fetched() -> None:
    with pytest.raises(UsageError, match="comes with scikit-learn"):
        fetch("digits")
    with pytest.raises(UsageError, match="Did you mean 'cifar100'"):
        fetch("cifar1000")
