"""Passwords and tokens in addresses reach the server and no file or line of the log."""

import base64
import contextlib
import logging
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.loopback import Fault, Loopback
from helpers.tap_server import Service

from lenspipe.config.settings import hide_credentials, load_settings, read_config
from lenspipe.cutouts.chunk import cut_chunk
from lenspipe.footprint.plan import load_plan
from lenspipe.footprint.select import write_bricks
from lenspipe.parent.select import parent_of_chunk
from lenspipe.products.provenance import write_basis
from lenspipe.retrieval import retry
from lenspipe.retrieval.sources import open_source
from lenspipe.utils.addresses import split_credentials, without_credentials
from lenspipe.utils.errors import LenspipeError, RetrievalError
from lenspipe.utils.progress import configure_logging, log

SECRETS = ("s3cr3t", "t0k3n", "an%20na", "an na", base64.b64encode(b"an na:s3cr3t").decode())


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path):
    monkeypatch.setattr(retry, "_FIRST_WAIT_S", 0.002)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LENSPIPE_CREDENTIALS", "{}")


def with_secrets(url, path=""):
    return f"{url.replace('://', '://an%20na:s3cr3t@')}{path}?token=t0k3n"


def config_of(url, **changes):
    config = {
        "run": "private",
        "survey": {"release": "dr9", "tree": with_secrets(url)},
        "sample": {"known_lenses": with_secrets(url, "/list.csv")},
        "retrieval": {"contact": "me@example.org", "attempts": 2, "checksums": True},
    }
    return config | changes


def has_credentials(request):
    expected = base64.b64encode(b"an na:s3cr3t").decode()
    return request.headers.get("authorization") == f"Basic {expected}" and (
        request.query == "token=t0k3n"
    )


def assert_nothing_leaked(folder, *texts):
    for path in folder.rglob("*"):
        assert not any(secret in path.name for secret in SECRETS), path
        content = path.read_bytes() if path.is_file() else b""
        assert not any(secret.encode() in content for secret in SECRETS), path
    for secret in SECRETS:
        assert not any(secret in text for text in texts)


def search(settings):
    """Bricks, parent sample and cutouts; and a file of the settings."""
    write_bricks(settings)
    (chunk,) = load_plan(settings)
    parent_of_chunk(settings, chunk)
    cut_chunk(settings, chunk)
    plain = settings.model_dump(mode="json")
    write_basis(settings.paths.root / "basis.json", plain)
    (settings.paths.root / "config.yaml").write_text(yaml.safe_dump(plain))


@pytest.mark.parametrize(
    "kind", ["well", "401", "503", "redirect-loop", "html", "truncated", "down"]
)
@pytest.mark.parametrize("hidden", [True, False])
def test_nothing_is_written(tiny_tree, tmp_path, kind, hidden, capfd, caplog):
    logs = tmp_path / "logs"
    configure_logging(logs / "log")
    log.addHandler(caplog.handler)

    def faults(request):
        assert has_credentials(request) or kind == "redirect-loop"
        spoilt = kind != "well" and ("tractor" in request.path or "coadd" in request.path)
        return Fault(kind, fraction=0.5) if spoilt else None

    with Loopback(tiny_tree.tree, faults=faults) as server:
        url = server.url
        config = config_of(url if kind != "down" else "http://127.0.0.1:1")
        if hidden:
            hide_credentials(config)
            (logs / "snakemake.yaml").write_text(yaml.safe_dump(config))
        settings = load_settings(config)
        try:
            search(settings)
        except LenspipeError as error:
            log.error("lenspipe: error: %s", error)
            log.error(f"{error!r}")
            assert kind == "down"
        log.info("from %s", with_secrets(url))
        (logs / "repr").write_text(repr(settings) + str(settings.retrieval))
        assert server.requests or kind == "down"
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    assert "127.0.0.1" in caplog.text
    assert_nothing_leaked(tmp_path, caplog.text, *capfd.readouterr())


def test_a_changed_password_changes_no_file(tiny_tree, tmp_path):
    with Loopback(tiny_tree.tree) as server:
        search(load_settings(config_of(server.url)))
        server.reset()
        other = config_of(server.url)
        other["survey"]["tree"] = other["survey"]["tree"].replace("s3cr3t", "other")
        search(load_settings(other))
        assert not [
            r for r in server.requests if "image" in r.path or r.path.endswith("south.fits.gz")
        ]


def test_tap_services_and_lists_take_credentials(tmp_path):
    import numpy as np

    with Service({"ls_dr9.tractor": np.zeros(1, [("brickid", "i4")])}) as service:
        config = config_of("http://127.0.0.1:1")
        config["survey"] |= {"catalogs": "tap", "tap": with_secrets(service.url)}
        settings = load_settings(config)
        assert settings.survey.tap == service.url
        from lenspipe.retrieval.tap import TapService

        with contextlib.closing(TapService(settings.survey.tap, settings.retrieval)) as tap:
            tap.ask("SELECT COUNT(*) AS n FROM ls_dr9.tractor", 2, "count")
            assert tap._session.auth.password == b"s3cr3t"
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "list.csv").write_text("ra,dec\n1,2\n")
    with Loopback(tmp_path / "tree", faults=lambda r: has_credentials(r) and None) as server:
        address = with_secrets(server.url, "/list.csv") + "&format=csv"
        settings = load_settings(config_of(server.url, sample={"known_lenses": address}))
        (catalogue,) = settings.sample.known_lenses
        assert catalogue.path == f"{server.url}/list.csv?format=csv"
        with (
            open_source(settings.retrieval, settings.paths.hosts, server.url) as source,
            source.table(catalogue.path),
        ):
            pass
        (request,) = server.requests
        assert request.query == "format=csv&token=t0k3n"
        assert "authorization" in request.headers
    shutil.rmtree(tmp_path / "tree")
    assert_nothing_leaked(tmp_path)


def test_errors_of_the_configuration(tmp_path):
    wrong = config_of("https://host")
    wrong["survey"]["release"] = ["dr9"]
    wrong["survey"]["trees"] = with_secrets("https://host")
    (tmp_path / "bad.yaml").write_text(f"survey: {{tree: {with_secrets('https://host')}: [")
    for load in (lambda: load_settings(wrong), lambda: read_config([tmp_path / "bad.yaml"])):
        with pytest.raises(LenspipeError) as error:
            load()
        assert not any(secret in str(error.value) for secret in SECRETS)
    with pytest.raises(LenspipeError, match=r"survey\.tree: write / \? # .* as %2F") as error:
        load_settings({"survey": {"tree": "https://anna:s3cr3t/x@host"}})
    assert "s3cr3t" not in str(error.value)
    settings = load_settings(config_of("s3://bucket"))
    with (
        open_source(settings.retrieval, settings.paths.hosts, "s3://bucket") as source,
        pytest.raises(LenspipeError, match=r"s3://bucket/a: found credentials"),
        source.table("s3://bucket/a"),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a:b@host/x", "https://host/x"),
        ("see https://a:b@c@host/x, 'http://t@h'", "see https://host/x, 'http://h'"),
        ("https://host:8000/a@b", "https://host:8000/a@b"),
        ("https://a:p/w@host/x", "https://host/x"),
        ("at /x?apikey=1&ra=2&X-Amz-Signature=3", "at /x?apikey=***&ra=2&X-Amz-Signature=***"),
        ("me@example.org", "me@example.org"),
    ],
)  # fmt: skip
def test_texts(text, expected):
    assert without_credentials(text) == expected


def test_addresses_without_credentials_are_unchanged():
    for address in ("https://h:1/a?-source=J/A+A/644&b", "s3://b/{region}", "https://h/?a=%2F#f"):
        assert split_credentials(address) == (address, ("", "", ""))


def test_a_record_of_the_log_is_cleaned(caplog):
    with caplog.at_level(logging.INFO, "lenspipe"):
        log.info("asking %s", "https://a:s3cr3t@host/x?token=t0k3n")
    assert caplog.messages == ["asking https://host/x?token=***"]
    assert "s3cr3t" not in str(RetrievalError("https://a:s3cr3t@host", transient=True))
    assert not Path("log").exists()
