"""`weights.toml`: what it says, and what is refused in one."""

import subprocess
import sys
from pathlib import PurePosixPath

import pytest

from coser_cli.errors import WeightsError
from coser_cli.weights.manifest import load_manifest

HASH = "0123456789abcdef" * 4
COMMIT = "0123456789abcdef01234567890123456789abcd"
GOOD = f"""
schema = 1

[license.free]
name = "Free"
url = "https://example.org/licence"
commercial = "yes"

[set.default]
files = ["one", "two"]

[file.one]
dest = "one/one.safetensors"
license = ["free"]
size = 12
sha256 = "{HASH}"
format = "safetensors"

[[file.one.source]]
type = "hf"
repo = "owner/name"
revision = "{COMMIT}"
path = "one.safetensors"

[file.two]
dest = "two/two.ckpt"
license = ["free"]
pin = "first-use"
format = "lightning-ckpt"
safe_globals = ["package.module.Class"]

[[file.two.source]]
type = "gdrive"
id = "abc-DEF_1"

[[file.two.source]]
type = "https"
url = "https://example.org/two.ckpt"
"""
VARIANT = """
[variant.big]
description = "Big"
folder = "big"
config = "sd21"
files = ["one", "two"]
optional = ["two"]

[variant.big.defaults]
steps = 4
"""


@pytest.fixture
def read(tmp_path):
    def load(text):
        path = tmp_path / "other.toml"
        path.write_text(text, encoding="utf-8")
        return load_manifest(path)

    return load


def test_good_manifest(read):
    manifest = read(GOOD + VARIANT)
    one, two = manifest.files.values()
    assert (one.size, one.sha256, one.sources[0].revision) == (12, HASH, COMMIT)
    assert two.sha256 is None
    assert [source.type for source in two.sources] == ["gdrive", "https"]
    assert manifest.sets["default"].files == ("one", "two")
    assert manifest.variants["big"].defaults == {"steps": 4}
    assert not manifest.variants["big"].bundled
    assert [each.name for each in manifest.licenses_of(["one", "two"])] == ["Free"]


def test_commercial_use_may_be_unknown(read):
    assert read(GOOD.replace('commercial = "yes"', "")).licenses["free"].commercial == "not stated"


def test_variants_are_optional(read):
    assert read(GOOD).variants == {}


def test_http_is_for_this_computer_only(read):
    for host in ("127.0.0.1:8000", "localhost", "[::1]:80"):
        text = GOOD.replace("https://example.org/two.ckpt", f"http://{host}/two.ckpt")
        assert read(text).files["two"].sources[1].url.startswith("http://")


def test_a_revision_may_move(read):
    """A file with a hash is held to that, wherever it comes from; one without, to its first use."""
    manifest = read(GOOD.replace(COMMIT, "main"))
    assert manifest.files["one"].sources[0].revision == "main"


def test_hashes_are_compared_in_lower_case(read):
    assert read(GOOD.replace(HASH, HASH.upper())).files["one"].sha256 == HASH


RULES = {
    "no schema": ("schema = 1", "", "schema"),
    "other schema": ("schema = 1", "schema = 2", "schema"),
    "unknown table": ("[license.free]", "[licenses.free]", "licenses"),
    "unknown key of a file": ("size = 12", "bytes = 12", "[file.one] bytes"),
    "unknown key of a source": ('id = "abc-DEF_1"', 'id = "a"\nurl = "b"', "source 1] url"),
    "unknown key of a licence": ('commercial = "yes"', 'commercial = "yes"\nx = 1', "free] x"),
    "licence without an address": ('url = "https://example.org/licence"', "", "[license.free] url"),
    "commercial that is no text": ('commercial = "yes"', "commercial = true", "free] commercial"),
    "licence without a table": ('license = ["free"]', 'license = ["no"]', "[file.one] license"),
    "no licence": ('license = ["free"]', "license = []", "[file.one] license"),
    "short hash": (HASH, HASH[1:], "[file.one] sha256"),
    "hash that is none": (HASH, "g" + HASH[1:], "[file.one] sha256"),
    "neither hash nor pin": (f'sha256 = "{HASH}"', "", "[file.one] sha256"),
    "hash and pin": ("size = 12", 'pin = "first-use"', "[file.one] pin"),
    "other pin": ('pin = "first-use"', 'pin = "never"', "[file.two] pin"),
    "size 0": ("size = 12", "size = 0", "[file.one] size"),
    "size in words": ("size = 12", 'size = "12"', "[file.one] size"),
    "absolute dest": ("one/one.safetensors", "/one.safetensors", "[file.one] dest"),
    "dest above": ("one/one.safetensors", "one/../../x", "[file.one] dest"),
    "dest with a drive": ("one/one.safetensors", "C:/x", "[file.one] dest"),
    "dest with backslashes": ("one/one.safetensors", "..\\\\x", "[file.one] dest"),
    "empty dest": ("one/one.safetensors", "", "[file.one] dest"),
    "two files in one place": ("two/two.ckpt", "one/one.safetensors", "[file.two] dest"),
    "unknown format": ('format = "safetensors"', 'format = "gguf"', "[file.one] format"),
    "globals of no pickle": (
        'format = "safetensors"',
        'format = "safetensors"\nsafe_globals = ["a.b"]',
        "[file.one] safe_globals",
    ),
    "globals without a module": ("package.module.Class", "Class", "[file.two] safe_globals"),
    "revision that is no commit": (COMMIT, "v1.0", "[file.one.source 1] revision"),
    "repo that is none": ("owner/name", "owner", "[file.one.source 1] repo"),
    "source type": ('type = "gdrive"', 'type = "ftp"', "[file.two.source 1] type"),
    "plain http": ("https://example.org/two", "http://example.org/two", "source 2] url"),
    "set of nothing": ('files = ["one", "two"]', "files = []", "[set.default] files"),
    "set of an unknown file": ('files = ["one", "two"]', 'files = ["x"]', "[set.default] files"),
    "file named twice": ('files = ["one", "two"]', 'files = ["one", "one"]', "[set.default] files"),
    "set of an unknown variant": (
        "[set.default]",
        '[set.default]\nvariant = "x"',
        "[set.default] variant",
    ),
    "sources that are no list": ("[[file.one.source]]", "[file.one.source]", "[file.one] source"),
    "name that is none": ("[file.one]", '[file."../one"]', "../one"),
}
VARIANT_RULES = {
    "unknown config": ('config = "sd21"', 'config = "sd15"', "[variant.big] config"),
    "unknown file": ('files = ["one", "two"]', 'files = ["x"]', "[variant.big] files"),
    "optional that is no file of it": ('["two"]', '["three"]', "[variant.big] optional"),
    "unknown base": ('folder = "big"', 'folder = "big"\nbase = "x"', "[variant.big] base"),
    "unknown default": ("steps = 4", "step = 4", "[variant.big.defaults] step"),
    "default out of range": ("steps = 4", "steps = 0", "[variant.big.defaults] steps"),
    "folder of a file": ('folder = "big"', 'folder = "one"', "[file.one] dest"),
}


@pytest.mark.parametrize(("old", "new", "where"), RULES.values(), ids=RULES)
def test_refused(read, tmp_path, old, new, where):
    assert old in GOOD
    with pytest.raises(WeightsError) as caught:
        read(GOOD.replace(old, new, 1))
    assert str(tmp_path / "other.toml") in caught.value.message
    assert where in caught.value.message


@pytest.mark.parametrize(("old", "new", "where"), VARIANT_RULES.values(), ids=VARIANT_RULES)
def test_refused_variant(read, old, new, where):
    assert old in VARIANT
    with pytest.raises(WeightsError) as caught:
        read(GOOD + VARIANT.replace(old, new, 1))
    assert where in caught.value.message


@pytest.mark.parametrize("text", ["schema = ", "\ufeff\x00", "[file"])
def test_no_toml(read, text):
    with pytest.raises(WeightsError, match="no TOML"):
        read(text)


def test_no_file(tmp_path):
    with pytest.raises(WeightsError, match="cannot read the manifest"):
        load_manifest(tmp_path / "missing.toml")


def test_the_packages_own():
    manifest = load_manifest()
    assert list(manifest.variants) == ["mini", "sd21", "turbo"]
    assert manifest.variants["turbo"].base == "sd-turbo"
    assert {"default", "turbo"} <= set(manifest.sets)
    for file in manifest.files.values():
        assert file.sources or file.parts
        assert (file.size is None) == (file.sha256 is None)
        assert PurePosixPath(file.dest).name
    # the strictest licence is that of a part which the model can do without
    strict = [id for id in manifest.files if "s-lab-1_0" in manifest.files[id].licenses]
    assert strict == list(manifest.variants["sd21"].optional) == ["cfw"]


def test_reading_it_needs_no_torch():
    code = (
        "import sys, coser_cli.weights.manifest as m; m.load_manifest(); "
        "assert 'torch' not in sys.modules and 'httpx' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
