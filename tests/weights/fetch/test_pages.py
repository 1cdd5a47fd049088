"""Addresses, hosts and pages, without a network."""

import email.utils
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coser_cli.errors import UsageError
from coser_cli.weights.fetch.hosts import Hosts, hosts_from, is_offline, patience_from
from coser_cli.weights.fetch.http import retry_after
from coser_cli.weights.fetch.pages import confirmed
from coser_cli.weights.file_kinds import is_page
from coser_cli.weights.manifest import Source, is_below
from coser_cli.weights.urls import display_url, is_allowed, origin


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.org/x", True),
        ("http://example.org/x", False),
        ("http://127.0.0.1:8000/x", True),
        ("http://127.1.2.3/x", True),
        ("http://[::1]/x", True),
        ("http://localhost/x", True),
        ("http://localhost.example.org/x", False),
        ("http://127.0.0.1.example.org/x", False),
        ("http://127.0.0.1@example.org/x", False),
        ("ftp://127.0.0.1/x", False),
        ("file:///etc/passwd", False),
        ("https:///x", False),
        ("https://example.org:port/x", False),
        ("", False),
    ],
)
def test_allowed_addresses(url, allowed):
    assert is_allowed(url) is allowed


def test_what_is_shown_of_an_address():
    assert display_url("https://me:secret@example.org:8/a/b?signature=1#x") == (
        "https://example.org:8/a/b"
    )


def test_addresses_of_sources():
    hosts = Hosts()
    commit = "0" * 40
    assert hosts.address(Source("hf", "o/n", commit, "a/b c.bin")) == (
        f"https://huggingface.co/o/n/resolve/{commit}/a/b%20c.bin"
    )
    assert hosts.address(Source("modelscope", "o/n", "master", "x")) == (
        "https://modelscope.cn/models/o/n/resolve/master/x"
    )
    assert hosts.address(Source("gdrive", id="a-b")).startswith(
        "https://drive.usercontent.google.com/download?id=a-b&"
    )


@pytest.mark.parametrize(
    ("url", "goes"),
    [
        ("https://huggingface.co/x", True),
        ("https://huggingface.co:443/x", True),
        ("https://hub.example.org/x", True),
        ("https://huggingface.co.example.org/x", False),
        ("https://cdn-lfs.huggingface.co/x", False),
        ("https://huggingface.co:8443/x", False),
        ("https://mirror.example.org/x", False),
    ],
)
def test_who_gets_the_token(url, goes):
    environment = {"HF_TOKEN": "secret", "HF_ENDPOINT": "https://hub.example.org/"}
    hosts = hosts_from(environment, mirror="https://mirror.example.org")
    assert hosts.hub == "https://mirror.example.org"
    assert hosts.token_for(url) == ("secret" if goes else None)


def test_no_token_no_endpoint():
    hosts = hosts_from({})
    assert hosts == Hosts()
    assert hosts.token_for("https://huggingface.co/x") is None


def test_endpoint_must_be_safe():
    with pytest.raises(UsageError, match="HF_ENDPOINT"):
        hosts_from({"HF_ENDPOINT": "http://example.org"})


def test_patience():
    patience = patience_from({"COSER_DOWNLOAD_RETRIES": "2", "COSER_DOWNLOAD_BACKOFF": "0.5"})
    assert (patience.retries, patience.backoff, patience.timeout) == (2, 0.5, 60.0)


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("true", True), ("0", False)])
def test_offline(value, offline):
    assert is_offline({"HF_HUB_OFFLINE": value}) is offline
    assert is_offline({"COSER_OFFLINE": value}) is offline
    assert not is_offline({})


@pytest.mark.parametrize(
    ("head", "markup"),
    [
        (b"<!doctype html>", True),
        (b"\xef\xbb\xbf\n <HTML lang=de>", True),
        (b"<html>", True),
        (b"<?xml version=", True),
        (b"PK\x03\x04", False),
        (b"<\x00\x00\x00\x00\x00\x00\x00{", False),  # a safetensors header of 60 bytes
        (b"", False),
    ],
)
def test_markup(head, markup):
    assert is_page(head) is markup


def test_form_with_a_relative_address():
    page = """<form action='/go?a=1' id=download-form><input type=hidden name=b value='2 3'>
    </form><form><input type=hidden name=other value=x></form>"""
    assert confirmed(page, "https://example.org/uc?id=7") == "https://example.org/go?a=1&b=2+3"


def test_older_form_by_gdown():
    pytest.importorskip("gdown")
    page = '<a id="uc-download-link" href="/uc?export=download&amp;confirm=abc&amp;id=7">yes</a>'
    assert confirmed(page, "https://x.org") == (
        "https://docs.google.com/uc?export=download&confirm=abc&id=7"
    )


def test_page_without_a_form():
    assert confirmed("<html><p>Nothing here.</p></html>", "https://x.org") is None


@pytest.mark.parametrize(("text", "seconds"), [("7", 7.0), ("", None), ("soon", None)])
def test_retry_after(text, seconds):
    assert retry_after(httpx.Response(429, headers={"retry-after": text})) == seconds


def test_retry_after_as_a_date():
    text = email.utils.formatdate(time.time() + 30, usegmt=True)
    wait = retry_after(httpx.Response(429, headers={"retry-after": text}))
    assert wait == pytest.approx(30, abs=5)


@given(st.text(alphabet="ab./\\: \n~", max_size=12))
def test_a_path_below_stays_below(text):
    """Whatever is accepted names something inside the folder, and nothing but."""
    if is_below(text):
        depth = 0
        for part in text.split("/"):
            assert part != ".."
            depth += part not in ("", ".")
        assert depth > 0
        assert not text.startswith("/")
        assert not set("\\:\n") & set(text)


@given(st.sampled_from(["https", "http"]), st.sampled_from(["a.org", "A.ORG"]), st.integers(1, 9))
def test_origin_knows_case_and_port(scheme, host, port):
    assert origin(f"{scheme}://{host}:{port}/x?y") == (scheme, "a.org", port)
