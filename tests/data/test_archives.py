"""Published archives: downloaded, checked and read by torchvision, and one set in any container."""

import importlib.util
import io
import os
import pickle
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resbench.data import archives
from resbench.data.images import Images
from resbench.data.sources import Source, fetch, identify, load
from resbench.datasets import DATA_SETS
from resbench.errors import EnvironmentFault
from tests.data.archives import (
    Split,
    archive_of,
    in_order,
    make_images,
    pack,
    png,
    take_for_published,
    torchvision_class,
    write_batches,
    write_parquet,
)
from tests.factory import Hostile
from tests.mini import raising

FILENAME, FOLDER = "cifar-10-python.tar.gz", "cifar-10-batches-py"


def splits(name: str = "cifar10") -> tuple[Split, Split]:
    classes = DATA_SETS[name].classes
    return make_images(classes, 5), make_images(classes, 1, seed=1)


def webp(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="WEBP", lossless=True)
    return file.getvalue()


def loaded(name: str, location: Path) -> tuple[Source, Images]:
    source = identify(name, {name: location})
    return source, load(source)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a made archive that stands for the published CIFAR-10."""
    write_batches(tmp_path / "unpacked" / FOLDER, "cifar10", *splits())
    (tmp_path / "packed").mkdir()
    packed = take_for_published(monkeypatch, "cifar10", tmp_path / "unpacked" / FOLDER)
    packed.rename(tmp_path / "packed" / FILENAME)
    return tmp_path / "packed"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_one_content_is_one_data_set_in_any_container_and_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    archive, (train, test) = archive_of(name), splits(name)
    write_batches(tmp_path / "out" / archive.folder, name, train, test)
    packed = take_for_published(monkeypatch, name, tmp_path / "out" / archive.folder)
    packed.rename(tmp_path / archive.filename)
    column = DATA_SETS[name].column
    for kind, encode in (("png", png), ("webp", webp)):
        for split, (images, labels) in (("train", train), ("test", test)):
            mixed = np.random.default_rng(3).permutation(len(labels))
            encoded = [encode(images[row]) for row in mixed]
            write_parquet(tmp_path / kind / f"{split}-0.parquet", encoded, labels[mixed], column)
    expected = (*in_order(*train), *in_order(*test))
    for container in (archive.filename, "", "out", f"out/{archive.folder}", "png", "webp"):
        monkeypatch.setenv("RESBENCH_CACHE_DIR", str(tmp_path / "caches" / (container or "top")))
        source, made = loaded(name, tmp_path / container)
        assert (source.id, source.label, source.published) == (identify(name, {}).id, name, True)
        found = (made.train_images, made.train_labels, made.test_images, made.test_labels)
        for array, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(array, wanted, container)


def made_archives(shared_data: Path) -> Any:
    """The script next to the real images that writes them in their official form."""
    spec = importlib.util.spec_from_file_location("made", shared_data / "make_archives.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.shared_data
def test_the_official_files_of_cifar10_are_the_published_data_set(
    shared_data: Path, tmp_path: Path
) -> None:
    made = made_archives(shared_data)
    made.cifar10(tmp_path / "here" / FOLDER)  # ends with a message where an MD5 differs
    assert {path.name for path in (tmp_path / "here" / FOLDER).iterdir()} == set(made.MD5)
    official, images = loaded("cifar10", tmp_path / "here")  # checks all MD5s again
    assert (official.label, official.published) == ("cifar10", True)
    assert official.id == f"sha256:{images.fingerprint}"
    assert len(images.train_labels) == 50_000
    assert images.class_names[2] == "bird"
    stored = identify("cifar10", {"cifar10": shared_data / "cifar10"})
    assert (stored.id, stored.label, stored.published) == (official.id, "cifar10", True)


@pytest.mark.slow
@pytest.mark.shared_data
def test_the_images_of_cifar100_are_the_published_data_set(shared_data: Path) -> None:
    source = identify("cifar100", {"cifar100": shared_data / "cifar100"})
    assert (source.id, source.label) == (identify("cifar100", {}).id, "cifar100")


@pytest.mark.parametrize("where", ["packed", "unpacked", f"packed/{FILENAME}"])
def test_nothing_is_unpickled_unless_it_is_official(
    published: Path, tmp_path: Path, where: str
) -> None:
    marker = tmp_path / "executed"
    bomb = pickle.dumps(Hostile(marker))
    (tmp_path / "unpacked" / FOLDER / "data_batch_3").write_bytes(bomb)
    pack(tmp_path / "unpacked" / FOLDER, published / FILENAME)
    with pytest.raises(EnvironmentFault) as caught:
        loaded("cifar10", tmp_path / where)
    assert not marker.exists()
    for part in (str(tmp_path / where), "not the published cifar10", "data fetch cifar10",
                 "train-*.parquet", "--data cifar10=FOLDER"):  # fmt: skip
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    pickle.loads(bomb)
    assert marker.exists(), "the control: this pickle does something"


def test_a_folder_that_lacks_a_batch_is_refused(published: Path, tmp_path: Path) -> None:
    (tmp_path / "unpacked" / FOLDER / "data_batch_5").unlink()
    with pytest.raises(EnvironmentFault, match=f"{FOLDER}: not the published cifar10"):
        loaded("cifar10", tmp_path / "unpacked")


def test_what_is_published_is_read_once(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, images = loaded("cifar10", published)
    (published / FILENAME).write_bytes(b"")
    np.testing.assert_array_equal(load(source).train_images, images.train_images)


@pytest.mark.parametrize("where", ["packed", "unpacked", f"packed/{FILENAME}"])
def test_a_file_is_checked_although_the_cache_has_the_published_images(
    published: Path, tmp_path: Path, where: str
) -> None:
    loaded("cifar10", tmp_path / where)
    for path in (published / FILENAME, tmp_path / "unpacked" / FOLDER / "data_batch_3"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(EnvironmentFault, match="not the published cifar10"):
        loaded("cifar10", tmp_path / where)
    (tmp_path / "nonsense.txt").write_text("no archive")
    with pytest.raises(EnvironmentFault, match=r"nonsense\.txt: not the published cifar10"):
        loaded("cifar10", tmp_path / "nonsense.txt")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That archive, served by HTTP as if its folder were the CIFAR page."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(published)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "*")
    url = f"http://127.0.0.1:{server.server_port}/{FILENAME}"
    monkeypatch.setattr(torchvision_class("cifar10"), "url", url)
    yield published
    server.shutdown()
    server.server_close()


def test_a_fetched_archive_is_found_where_it_is_put(served: Path, tmp_path: Path) -> None:
    assert fetch("cifar10") == tmp_path / "user-data" / FOLDER
    assert load(identify("cifar10", {})).train_images.shape == (50, 32, 32, 3)


@pytest.mark.parametrize("kept", [FILENAME, FOLDER])
def test_what_is_there_and_whole_is_not_fetched_again(
    served: Path, tmp_path: Path, kept: str
) -> None:
    (tmp_path / "here").mkdir()
    (served / FILENAME).rename(tmp_path / "here" / FILENAME)
    fetch("cifar10", tmp_path / "here")
    if kept == FOLDER:
        (tmp_path / "here" / FILENAME).unlink()
    fetch("cifar10", tmp_path / "here")
    loaded("cifar10", tmp_path / "here")


def test_a_damaged_archive_is_replaced(served: Path, tmp_path: Path) -> None:
    path = tmp_path / "here" / FILENAME
    path.parent.mkdir()
    path.write_bytes(b"half a download")
    fetch("cifar10", path.parent)
    assert path.read_bytes() == (served / FILENAME).read_bytes()


def test_a_wrong_download_is_refused(served: Path, tmp_path: Path) -> None:
    (served / FILENAME).write_bytes(b"<html>moved</html>")
    with pytest.raises(EnvironmentFault, match="could not be fetched") as caught:
        fetch("cifar10", tmp_path / "here")
    assert archive_of("cifar10").md5 in str(caught.value)
    with pytest.raises(EnvironmentFault, match="not the published cifar10"):
        loaded("cifar10", tmp_path / "here")


def test_a_python_without_certificates_is_told_where_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer"
    error = ssl.SSLCertVerificationError(1, text)
    monkeypatch.setattr(socket, "getaddrinfo", raising(error))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(EnvironmentFault, match=r"first run its 'Install Certificates\.command'"):
        fetch("cifar10", tmp_path / "here")


def test_without_a_network_it_says_what_to_download_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = socket.gaierror(-3, "Temporary failure in name resolution")
    monkeypatch.setattr(socket, "getaddrinfo", raising(refused))
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


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="file/here"):
        fetch("cifar10", tmp_path / "file" / "here")


IMPORT = "from resbench.data.archives import torchvision_datasets\n"


def python(code: str, *first: Path) -> str:
    """What this code prints, without a warning, where packages in ``first`` come before others."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, first), *sys.path])}
    shown = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    return shown.stdout


@pytest.mark.slow
def test_installed_torchvision_serves_its_datasets_silently() -> None:
    assert python(f"{IMPORT}torchvision_datasets().CIFAR10\n") == ""


def test_operators_are_declared_where_torchvision_fails_for_want_of_them(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    registers = "import torch\ntorch.library.register_fake('torchvision::nms')(lambda *a: a[0])\n"
    (tmp_path / "torchvision" / "__init__.py").write_text(registers)
    (tmp_path / "torchvision" / "datasets.py").touch()
    control = "try: import torchvision\nexcept RuntimeError as error: print(error)\n"
    used = "import torch; torch.ops.torchvision.nms, torch.ops.torchvision.qnms\n"
    shown = python(f"{control}{IMPORT}print(torchvision_datasets().__name__)\n{used}", tmp_path)
    assert shown == "operator torchvision::nms does not exist\ntorchvision.datasets\n"


def test_absent_torchvision_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(EnvironmentFault, match="torchvision is not installed"):
        archives.torchvision_datasets.__wrapped__()
