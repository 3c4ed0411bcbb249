"""Downloading the published archives, only ever on request."""

from __future__ import annotations

import tempfile
from pathlib import Path

from resbench.data.archives import md5_of
from resbench.data.catalog import data_dir, how_to_get, published_archive
from resbench.errors import EnvironmentFault


def fetch(name: str, directory: Path | None = None) -> Path:
    """Download the archive of ``name`` into ``directory`` (default: the data folder), verified.

    An archive that is already there and whole is left alone; a damaged one is replaced, and only
    by a whole one. Raises UsageError for a data set that is not published as an archive,
    EnvironmentFault where the network or the folder does not serve.
    """
    archive = published_archive(name)
    directory = directory or data_dir()
    path = directory / archive.filename
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            with path.open("rb") as file:
                if md5_of(file) == archive.md5:
                    return path
        with tempfile.TemporaryDirectory(dir=directory, prefix=".fetch-") as temporary:
            _download(archive.url, Path(temporary), archive.md5)
            (Path(temporary) / archive.filename).replace(path)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong MD5 a RuntimeError
        raise EnvironmentFault(
            f"{name}: could not be fetched into {directory}: {str(error).rstrip('.')}. "
            f"By hand: {how_to_get(name, directory)}."
        ) from error
    return path


def _download(url: str, directory: Path, md5: str) -> None:
    from resbench.data.torchvision_compat import import_torchvision

    import_torchvision()
    from torchvision.datasets.utils import download_url

    download_url(url, directory, md5=md5)
