"""A hub that is out of reach is one sentence, soon; what it cached needs no hub."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retarget.core.errors import SourceError
from retarget.sources import hub
from retarget.sources.registry import resolve


@pytest.fixture
def black_hole():
    """The address of a server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed_port():
    """An address where nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    """A hub's cache with nothing in it, and permission to go online."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    return tmp_path / "hub"


@pytest.mark.parametrize("uri", ["timm:resnet18.a1_in1k", "hf:facebook/dinov2-small"])
def test_a_hub_behind_a_closed_port_is_one_sentence(uri, closed_port, empty_cache, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", closed_port)
    check_said_soon(uri, empty_cache, limit=10)


@pytest.mark.parametrize("uri", ["timm:resnet18.a1_in1k", "hf:facebook/dinov2-small"])
def test_a_hub_that_never_answers_is_given_up(uri, black_hole, empty_cache, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", black_hole)
    monkeypatch.setattr(hub, "PATIENCE", 1.5)
    check_said_soon(uri, empty_cache, limit=5)


def check_said_soon(uri: str, cache: Path, limit: float) -> None:
    for use in (lambda s: s.load(), lambda s: s.fingerprint):
        source = resolve(uri)
        if uri.startswith("timm:"):
            import timm  # noqa: F401 - its import is not the hub's time
        started = time.monotonic()
        with pytest.raises(SourceError) as caught:
            use(source)
        assert time.monotonic() - started < limit
        said = str(caught.value)
        assert "\n" not in said
        for part in (uri, str(cache), "could not be reached", "file:"):
            assert part in said


@pytest.mark.slow
def test_a_fresh_process_gives_up_on_a_silent_hub_within_ten_seconds(black_hole, tmp_path):
    uri = "timm:resnet18.a1_in1k"
    code = (
        "import sys, time, timm; from retarget.sources.registry import resolve;"
        "from retarget.core.errors import SourceError\n"
        "def waited(): return time.monotonic() - time.process_time()  # no busy machine counts\n"
        "start = waited()\n"
        "try: resolve(sys.argv[1]).load()\n"
        "except SourceError as error: print(waited() - start, error)"
    )
    env = {**os.environ, "HF_ENDPOINT": black_hole, "HF_HUB_OFFLINE": "0"}
    env |= {"HF_HUB_CACHE": str(tmp_path / "hub"), "RETARGET_CACHE": str(tmp_path / "cache")}
    run = [sys.executable, "-c", code, uri]
    done = subprocess.run(run, check=True, env=env, capture_output=True, text=True, timeout=300)
    seconds, _, said = done.stdout.partition(" ")
    assert float(seconds) < 10
    assert "could not be reached" in said


@pytest.mark.parametrize("uri", ["timm:resnet18.a1_in1k", "hf:facebook/dinov2-small"])
def test_offline_by_choice_is_said(uri, empty_cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE keeps the hub out of reach"):
        resolve(uri).load()


@pytest.mark.parametrize("uri", ["timm:test_vit.r160_in1k", "hf:someone/tiny-vit"])
def test_what_the_hub_cached_is_here_and_needs_no_network(uri, models, closed_port, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(models / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", closed_port)
    source = resolve(uri)
    assert source.facts.here
    first = source.load()
    again = resolve(uri).load()  # from the converted copy
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert a.equal(b)


def test_fingerprints_of_cached_models_import_nothing_heavy(models, tmp_path):
    code = (
        "import sys; from retarget.sources.registry import resolve;"
        "resolve('timm:test_vit.r160_in1k').fingerprint;"
        "resolve('hf:someone/tiny-vit').fingerprint;"
        "assert not {'torch', 'timm', 'transformers'} & set(sys.modules)"
    )
    env = {**os.environ, "HF_HUB_CACHE": str(models / "hub")}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, timeout=300)


def test_a_name_without_tag_is_timms_default_and_remembered(models, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(models / "hub"))
    plain, tagged = resolve("timm:test_vit"), resolve("timm:test_vit.r160_in1k")
    assert not plain.facts.here  # nobody has asked timm yet
    batch = tagged.load().collate([tagged.load().prepare(blank())])
    features = [s.load().pooled(batch, "mean")["pooled"] for s in (plain, tagged)]
    assert features[0].equal(features[1])
    assert resolve("timm:test_vit").facts.here


def blank():
    from PIL import Image

    return Image.new("RGB", (200, 180), (200, 40, 90))


def test_an_unknown_timm_name_is_said_with_its_neighbours(empty_cache):
    with pytest.raises(SourceError, match=r"has no model 'resnet_18'.*resnet18"):
        resolve("timm:resnet_18").load()


def test_a_timm_model_without_weights_is_said(empty_cache):
    with pytest.raises(SourceError, match="knows no pretrained weights"):
        resolve("timm:coatnet_0_224").load()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HOME": "/d"}, "/d/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_found_where_the_client_keeps_it(variables, expected, monkeypatch):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert hub.hub_cache() == Path(expected)


def test_a_hostile_ref_does_not_lead_out_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "models--a--b" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("../../..")
    assert hub.snapshot("a/b") is None


def test_a_hub_that_answers_is_reached(empty_cache, monkeypatch):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class NotFound(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)

        def log_message(self, *ignored):
            pass

    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        hub.check_reachable("hf:a/b", "a/b")
        server.shutdown()


class Shelf:
    """A hub on this machine: serves folders as repositories, the way its client asks."""

    def __init__(self, folders: dict[str, Path]) -> None:
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.answer(with_body=False)

            def do_GET(self):
                self.answer(with_body=True)

            def answer(self, with_body: bool) -> None:
                repository, _, name = self.path.lstrip("/").partition("/resolve/main/")
                path = folders.get(repository, Path("/nowhere")) / name
                found = bool(name) and path.is_file()
                body = path.read_bytes() if found else b""
                self.send_response(200 if found else 404)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", f'"{len(body):040x}"')
                self.send_header("X-Repo-Commit", "c" * 40)
                if not found:
                    known = repository in folders
                    self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, *ignored):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def shelf(models, tmp_path):
    """A hub with one timm model and one of transformers."""
    import shutil
    from threading import Thread

    for name, cached in (
        ("t", "models--timm--test_vit.r160_in1k"),
        ("h", "models--someone--tiny-vit"),
    ):
        shutil.copytree(models / "hub" / cached / "snapshots" / "abc123", tmp_path / name)
    served = Shelf({"timm/test_vit.r160_in1k": tmp_path / "t", "someone/tiny-vit": tmp_path / "h"})
    Thread(target=served.server.serve_forever, daemon=True).start()
    yield served.address
    served.server.shutdown()
    served.server.server_close()


@pytest.mark.slow
def test_models_are_fetched_from_a_hub_once_and_then_need_none(shelf, tmp_path):
    code = (
        "import sys, os; from retarget.sources.registry import resolve\n"
        "for uri in sys.argv[1:]:\n"
        "    source = resolve(uri); was = source.facts.here; source.load()\n"
        "    print(uri, was, source.facts.here, source.fingerprint)\n"
    )
    env = {**os.environ, "HF_ENDPOINT": shelf, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    env |= {"HF_HUB_CACHE": str(tmp_path / "hub")}
    run = [sys.executable, "-c", code, "timm:test_vit.r160_in1k", "hf:someone/tiny-vit"]
    first = subprocess.run(run, env=env, capture_output=True, text=True, timeout=300)
    assert first.returncode == 0, first.stderr
    assert [line.split()[1:3] for line in first.stdout.splitlines()] == [["False", "True"]] * 2
    env |= {"HF_HUB_OFFLINE": "1", "RETARGET_CACHE": str(tmp_path / "another")}
    second = subprocess.run(run, env=env, capture_output=True, text=True, timeout=300)
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout.replace("False", "True")


@pytest.mark.slow
def test_a_model_that_the_hub_does_not_have_is_one_sentence(shelf, tmp_path):
    code = (
        "import sys; from retarget.sources.registry import resolve;"
        "from retarget.core.errors import SourceError\n"
        "for uri in sys.argv[1:]:\n"
        "    try: resolve(uri).load()\n"
        "    except SourceError as error: print(error)"
    )
    env = {**os.environ, "HF_ENDPOINT": shelf, "HF_HUB_OFFLINE": "0"}
    env |= {"HF_HUB_CACHE": str(tmp_path / "hub")}
    uris = ["hf:someone/else", "timm:resnet18.a1_in1k"]
    run = [sys.executable, "-c", code, *uris]
    done = subprocess.run(run, check=True, env=env, capture_output=True, text=True, timeout=300)
    for uri, said in zip(uris, done.stdout.splitlines(), strict=True):
        assert uri in said
