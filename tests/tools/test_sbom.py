"""What the wheel says about itself: its bill of materials, its licences, its notices."""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from coser_cli.paths import bundled_weights_dir

pytest.importorskip("hatchling")
from tools.sbom import bill_of_materials

ROOT = Path(__file__).parents[2]
PHOTOS = bundled_weights_dir() / "mini" / "training_photos.tsv"


@pytest.fixture
def sources(tmp_path):
    folder = tmp_path / "coser_cli" / "assets" / "mini"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "weights.safetensors").write_bytes(b"numbers")
    (tmp_path / "coser_cli" / "assets" / "pages").mkdir()
    return tmp_path


def test_it_lists_the_package_its_weights_and_what_it_needs(sources):
    required = ["torch>=2.10", "Open_CLIP.torch>=3.0", "ray[client]>=2"]
    found = bill_of_materials(sources, "1.2", required, ["coser-cli[train]", "torch>=2", "gdown"])
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["metadata"]["component"]["purl"] == "pkg:pypi/coser-cli@1.2"
    weights, *libraries = found["components"]
    assert weights["name"] == "mini"
    file = weights["components"][0]
    assert file["name"] == "coser_cli/assets/mini/unet/weights.safetensors"
    assert file["hashes"][0]["content"] == hashlib.sha256(b"numbers").hexdigest()
    scopes = {each["name"]: each["scope"] for each in libraries}
    optional = {"gdown": "optional"}
    assert scopes == dict.fromkeys(["torch", "open-clip-torch", "ray"], "required") | optional
    assert len(found["dependencies"][0]["dependsOn"]) == 4


def test_it_depends_on_the_contents_alone(sources):
    first, again = (bill_of_materials(sources, "1.2", ["torch"]) for _ in range(2))
    assert first == again
    (sources / "coser_cli/assets/mini/unet/weights.safetensors").write_bytes(b"others")
    assert bill_of_materials(sources, "1.2", ["torch"])["serialNumber"] != first["serialNumber"]


def photos():
    with PHOTOS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_every_training_photo_has_a_source_and_a_licence():
    rows = photos()
    assert len({row["file"] for row in rows}) == len(rows) == 815
    assert set(rows[0]) == {"file", "author", "source", "licence"}
    assert all(row["source"] and row["licence"] for row in rows)
    assert not any(re.search("imagenet|non-commercial|NC", row["licence"]) for row in rows)


def test_the_notice_counts_every_photo_once():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    counts = dict(
        reversed(each) for each in re.findall(r"^ +(\d+)  (.+?)(?=: [^/]+$|: .*$)", notice, re.M)
    )
    sources = {}
    for row in photos():
        name = re.sub(r" \((history|Wikimedia Commons)\)$", "", row["source"].split("@")[0])
        sources[name] = sources.get(name, 0) + 1
    assert {name: int(count) for name, count in counts.items()} == sources
    assert sum(sources.values()) == 815


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "coser_cli").is_dir(), reason="no sources to build a wheel from")
def test_the_wheel_is_complete_and_runs(tmp_path):
    pip = [sys.executable, "-m", "pip"]
    build = [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", str(ROOT), "-w", "."]
    subprocess.run(build, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 45e6
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (sbom,) = (name for name in names if name.endswith(".dist-info/sboms/coser-cli.cdx.json"))
        weights = json.loads(archive.read(sbom))["components"][0]["components"]
        for file in weights:
            found = hashlib.sha256(archive.read(file["name"])).hexdigest()
            assert found == file["hashes"][0]["content"]
    assert len(weights) == sum(name.endswith(".safetensors") for name in names) > 0
    inside = " ".join(names)
    for name in ("LICENSE", "LICENSE-WEIGHTS", "NOTICE"):
        assert f".dist-info/licenses/{name}" in inside
    assert "coser_cli/assets/mini/training_photos.tsv" in names
    assert "coser_cli/weights.toml" in names
    assert not [name for name in names if name.startswith(("tests/", "tools/"))]
    _run_from(wheel, tmp_path / "venv")


def _run_from(wheel, venv):
    """Installed from the wheel alone; its dependencies are those of the tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = venv / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    install = ["install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(others))
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for words, expected in ((["--version"], "coser"), (["info"], "LICENSE-WEIGHTS")):
        ran = subprocess.run(
            [venv / "bin" / "python", "-m", "coser_cli", *words],
            env=clean,
            cwd=venv,
            capture_output=True,
            text=True,
            check=True,
        )
        assert expected in ran.stdout
