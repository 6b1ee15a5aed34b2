"""Downloads from a server on this machine: resumed, checked; a dead link says what to do."""

import hashlib
import io
import json
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from llm_oracle import cli
from recsim_envs.data.sources import download as module
from recsim_envs.data.sources.download import File, download, origin_notes
from recsim_envs.data.tables import import_tables
from recsim_envs.errors import DataError

pytest.importorskip("pooch", reason="pip install pooch")
CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Files(BaseHTTPRequestHandler):
    """Serves ``server.files``; breaks off after ``server.most`` bytes where that is set."""

    def do_GET(self):
        content, tag = self.server.files.get(self.path, (None, ""))
        self.server.asked.append((self.path, self.headers.get("Range")))
        if content is None:
            self.send_error(404)
            return
        start, whole = 0, len(content)
        if self.headers.get("Range") and self.headers.get("If-Range") == tag:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        else:
            self.send_response(200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(whole - start))
        self.end_headers()
        end = whole if self.server.most is None else start + self.server.most
        self.wfile.write(content[start:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    server.files, server.asked, server.most = {"/data.bin": (CONTENT, '"1"')}, [], None
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    named = {"it": (File("data.bin", (server.url + "/data.bin",)),)}
    monkeypatch.setattr(module, "FILES", named)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_that_broke_off_continues(server, tmp_path, caplog):
    caplog.set_level("INFO", "recsim")
    server.most = 1_200_000
    for _ in range(2):
        with pytest.raises(DataError, match="Run this again to continue"):
            download("it", tmp_path)
    assert not (tmp_path / "data.bin").exists()
    server.most = None
    assert download("it", tmp_path) == tmp_path
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert "continuing data.bin.part at 2,400,000 of 3,000,000 bytes" in caplog.text
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert f"sha256 {digest}" in caplog.text
    assert [r for _, r in server.asked] == [None, "bytes=1200000-", "bytes=2400000-"]
    assert {path.name for path in tmp_path.iterdir()} == {"data.bin", "downloads.recsim"}
    assert origin_notes(tmp_path) == [f"origin: data.bin of {server.url}/data.bin, sha256 {digest}"]
    # What is there is not fetched again, unless it is something else.
    server.asked.clear()
    download("it", tmp_path, (digest.upper(),))
    assert not server.asked
    (tmp_path / "data.bin").write_bytes(b"something else")
    download("it", tmp_path, (digest,))
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_another_version_is_not_joined_to_the_first(server, tmp_path):
    server.most = 1_200_000
    with pytest.raises(DataError):
        download("it", tmp_path)
    server.most = None
    server.files["/data.bin"] = (CONTENT[::-1], '"2"')
    download("it", tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT[::-1]


def test_another_hash_is_refused(server, tmp_path):
    with pytest.raises(DataError, match=r"(?s)data\.bin could not be fetched .*hash"):
        download("it", tmp_path, ("0" * 64,))
    assert not (tmp_path / "data.bin").exists()
    with pytest.raises(DataError, match="--sha256 names 2 hashes for 1 files"):
        download("it", tmp_path, ("0" * 64, "1" * 64))


def test_a_dead_link_names_file_and_place(server, tmp_path, monkeypatch):
    gone, refused = server.url + "/gone", "http://127.0.0.1:9/data.bin"
    monkeypatch.setitem(module.FILES, "it", (File("data.bin", (gone, refused)),))
    with pytest.raises(DataError) as error:
        download("it", tmp_path)
    for words in (f"{gone}: the server answers 404", refused, f"at {tmp_path / 'data.bin'}"):
        assert words in str(error.value), error.value
    # The next address helps; so does a copy by hand.
    urls = (gone, server.url + "/data.bin")
    monkeypatch.setitem(module.FILES, "it", (File("data.bin", urls),))
    download("it", tmp_path)
    monkeypatch.setitem(module.FILES, "it", (File("data.bin", (gone,)),))
    (tmp_path / "data.bin").write_bytes(b"by hand")
    download("it", tmp_path)
    assert "a copy that was there" in origin_notes(tmp_path)[0]
    with pytest.raises(DataError, match="name='that' is unknown: use one of it"):
        download("that", tmp_path)


def test_an_archive_is_unpacked_and_its_origin_is_in_the_account(
    server, tmp_path, monkeypatch, capsys
):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ml/u.data", "1\t1\t5\t1\n1\t2\t5\t2\n")
        rows = [f"{i}|film {i}|||" + "|0" * 19 for i in (1, 2)]
        archive.writestr("ml/u.item", "\n".join(rows) + "\n")
    server.files["/ml.zip"] = (packed.getvalue(), '"1"')
    monkeypatch.setitem(module.FILES, "it", (File("ml.zip", (server.url + "/ml.zip",)),))
    monkeypatch.setattr(sys, "argv", ["recsim", "download", "it", str(tmp_path)])
    cli.main()
    assert f"recsim prepare it {tmp_path / 'ml'}" in capsys.readouterr().out
    found = import_tables(tmp_path / "ml", "it")
    assert any(f"origin: ml.zip of {server.url}" in note for note in found.account["notes"])
    (tmp_path / "ml.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match="ml.zip is no archive"):
        download("it", tmp_path)


def test_the_table_names_whole_addresses():
    for files in module.FILES.values():
        for file in files:
            assert all(url.startswith("https://") for url in file.urls)
            assert all(url.endswith("/" + file.name) for url in file.urls)
    json.dumps(module.FILES)
