"""The child process that fetches one file: ``python -m clsbench.assets.transfer``.

A name lookup, a TLS handshake or a library's own retries cannot be interrupted from within a
process, but a child can be killed. It reads its request as one JSON line and exits with its parent.
Time limits and verification are left to the parent.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

CHUNK_BYTES = 16 * 1024
"""Written at least this often, so that slow downloads show progress."""

TRANSIENT_STATUS = (408, 425, 429)
HUB_ERRORS = {
    "GatedRepoError": "gated; accept its terms on the hub, then set HF_TOKEN",
    "RepositoryNotFoundError": "no such repository, or a private one; check its name, or set"
    " HF_TOKEN",
    "RevisionNotFoundError": "the repository has no such revision",
    "RemoteEntryNotFoundError": "the revision has no such file",
}
"""What the exceptions of huggingface_hub mean, by class name."""
OWN_FAULT = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


def main() -> None:
    """Execute the request on stdin and write the outcome to stdout as one JSON line."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answer, sys.stdout = sys.stdout, sys.stderr  # libraries may print
    try:
        fetch = _fetch_hub_file if "repository" in order else _fetch_web_file
        outcome: dict[str, Any] = {"path": fetch(order)}
    except Exception as error:  # reported to the parent
        reason, permanent = explain(error)
        outcome = {"error": reason, "permanent": permanent}
    print(json.dumps(outcome), file=answer, flush=True)


def explain(error: BaseException) -> tuple[str, bool]:
    """A short reason, and whether retrying the same source is pointless."""
    chain = list(_chain(error))
    for link in chain:
        status = getattr(getattr(link, "response", None), "status_code", None)
        if isinstance(status, int):
            meaning = HUB_ERRORS.get(type(link).__name__)
            reason = f"HTTP status {status}" + (f", {meaning}" if meaning else "")
            return reason, status < 500 and status not in TRANSIENT_STATUS
    for link in chain:
        if type(link).__name__ == "OfflineModeIsEnabled":
            return "HF_HUB_OFFLINE is set", True
        if isinstance(link, socket.gaierror):
            return f"its host name cannot be resolved ({link.strerror})", False
        if isinstance(link, TimeoutError) or "Timeout" in type(link).__name__:
            return "no response in time", False
    for link in reversed(chain):
        if isinstance(link, OSError) and link.strerror:
            return link.strerror, link.errno in OWN_FAULT
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first[:200]}", False


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _ready(order: dict[str, Any]) -> None:
    """Signal the parent that imports are complete and network access begins."""
    with open(order["ready"], "wb"):
        pass


def _fetch_web_file(order: dict[str, Any]) -> str:
    import pooch
    import requests  # noqa: F401  what pooch would import only now and then

    _ready(order)
    target = os.path.join(order["folder"], "download")
    # Addresses of a host are tried in order; only the parent limits the time of reading.
    timeouts = (order["connect_seconds"], None)
    downloader = pooch.HTTPDownloader(
        chunk_size=CHUNK_BYTES, timeout=timeouts, headers={"Accept-Encoding": "identity"}
    )
    downloader(order["url"], target, None)
    return target


def _fetch_hub_file(order: dict[str, Any]) -> str:
    from huggingface_hub import (
        constants,
        get_hf_file_metadata,
        get_session,
        hf_hub_download,
        hf_hub_url,
    )

    get_session()  # reads certificates, which may take long on a busy machine
    _ready(order)
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
    repository, filename, revision = order["repository"], order["filename"], order["revision"]
    # Checked first, since hf_hub_download hides the reason and retries for minutes.
    url = hf_hub_url(repository, filename, revision=revision, repo_type=order["kind"])
    get_hf_file_metadata(url, timeout=order["connect_seconds"] * 2)
    return str(
        hf_hub_download(
            repository,
            filename,
            revision=revision,
            repo_type=order["kind"],
            cache_dir=order["folder"],
        )
    )


if __name__ == "__main__":
    main()
