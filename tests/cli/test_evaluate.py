"""`coser evaluate` as a user meets it: sets, folders of other tools, pairs, metrics, studies."""

import json
import os
import tempfile

import numpy as np
import pytest
from PIL import Image

from coser_cli.errors import Exit
from tests.json_page import check, faults

ROWS = ("bicubic", "srresnet", "no-diffusion", "white-noise", "no-reference", "no-cognition")


@pytest.fixture
def pictures(tmp_path):
    """`set/HR`, `set/LR` with two pictures, and `tool` with results of one grey level too much."""
    rng = np.random.default_rng(0)
    for folder in ("set/HR", "set/LR", "tool"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a", "b"):
        high = Image.fromarray(rng.integers(0, 250, (9, 8, 3), dtype=np.uint8))
        high = high.resize((64, 48), Image.Resampling.BICUBIC)
        high.save(tmp_path / "set" / "HR" / f"{name}.png")
        high.resize((16, 12), Image.Resampling.BICUBIC).save(tmp_path / "set/LR" / f"{name}.png")
        levels = np.asarray(high).astype(int) + 1
        result = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
        result.save(tmp_path / "tool" / f"{name}_4x.png")
    return tmp_path


def evaluations(ran):
    return {each["row"]: each for each in ran.records if each["type"] == "evaluation"}


def test_a_table_and_its_differences(coser, pictures):
    ran = coser("evaluate", "set", "--metrics", "psnr_y,halo", "--rows", "bicubic,no-diffusion")
    assert ran.code == Exit.OK, ran.err
    lines = ran.out.splitlines()
    assert lines[0].split() == ["set", "pictures", "psnr_y", "halo"]
    assert [line.split()[:2] for line in lines[1:3]] == [["bicubic", "2"], ["no-diffusion", "2"]]
    assert lines[4].startswith("against bicubic  metric")
    assert ran.err.splitlines() == [
        "measuring bicubic: 2 pictures", "measuring no-diffusion: 2 pictures",
    ]  # fmt: skip


def test_records(coser, pictures):
    ran = coser("evaluate", "set", "--rows", ",".join(ROWS), "--metrics", "psnr_y", "--json", "-q")
    assert (ran.code, ran.err) == (Exit.OK, "")
    records = ran.records
    kinds = ["evaluation"] * len(ROWS) + ["comparison"] * (len(ROWS) - 1)
    assert [each["type"] for each in records] == kinds
    assert [each["row"] for each in records[: len(ROWS)]] == list(ROWS)
    for record in records:
        value = record.pop("psnr_y", None)
        assert faults(record, record["type"]) == [], record
        assert value is None or value == round(record["statistics"]["psnr_y"]["mean"], 4)


def test_results_of_another_tool(coser, pictures):
    words = ("--results", "tool", "--reference", "set/HR", "--metrics", "psnr_y,ssim_y")
    ran = coser("evaluate", *words, "--input", "set/LR", "--rows", "bicubic", "--json")
    found = evaluations(ran)
    assert list(found) == ["tool", "bicubic"]
    assert found["tool"]["psnr_y"] == pytest.approx(49.45, abs=0.1)  # one level, in luma
    comparison, _ = (each for each in ran.records if each["type"] == "comparison")
    names = comparison["row"], comparison["against"]
    assert (*names, comparison["losses"]) == ("bicubic", "tool", 2)
    alone = coser("evaluate", *words, "--json")
    assert evaluations(alone)["tool"] == found["tool"]


def test_files_of_scores_and_a_page(coser, pictures):
    words = ("evaluate", "set", "--rows", "bicubic,srresnet", "--metrics", "psnr_y")
    outputs = ("--scores", "s.csv", "--scores", "s.jsonl", "--page", "p.html", "--save", "kept")
    assert coser(*words, *outputs).code == Exit.OK
    assert len((pictures / "s.csv").read_text().splitlines()) == 5
    lines = [json.loads(line) for line in (pictures / "s.jsonl").read_text().splitlines()]
    assert [(each["row"], each["picture"]) for each in lines] == [
        ("bicubic", "a"), ("bicubic", "b"), ("srresnet", "a"), ("srresnet", "b"),
    ]  # fmt: skip
    page = (pictures / "p.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml") == 1
    assert page.count("<article>") == 2
    assert sorted(os.listdir("kept/set/bicubic")) == ["a.png", "b.png"]
    again = coser(*words, "--page", "p.html")
    assert (again.code, again.out) == (Exit.USAGE, "")
    assert again.err == "coser: 'p.html' exists; give another name, or --overwrite\n"
    assert coser(*words, "--page", "p.html", "--overwrite").code == Exit.OK


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nowhere",), Exit.USAGE, "has no HR/ and LR/"),
        (("set", "--rows", "bicubic,magic"), Exit.USAGE, "'magic' is none of bicubic, realesrgan"),
        (("set", "--metrics", "odd"), Exit.USAGE, "--metrics: 'odd' is none of psnr_y"),
        (("set", "--protocol", "odd"), Exit.USAGE, "--protocol: 'odd' is none of imagenet-test"),
        (("set", "--against", "odd"), Exit.USAGE, "'odd' is none of bicubic, everything"),
        (("set", "--scale", "99"), Exit.USAGE, "--scale"),
        (("set", "--model", "nowhere"), Exit.WEIGHTS, "there is no model 'nowhere'"),
        (("set", "--metrics", "fid"), Exit.WEIGHTS, "coser evaluate metrics --fetch fid"),
        (("set", "--scores", "s.txt"), Exit.USAGE, "--scores 's.txt': use .csv or .jsonl"),
        (("set", "--page", "none/p.html"), Exit.USAGE, "there is no folder 'none'"),
        (("set", "--reference", "set/HR"), Exit.USAGE, "leave --reference and --input out"),
        (("--results", "tool"), Exit.USAGE, "psnr_y, st_lpips need true pictures"),
        (("--results", "tool", "--reference", "set/LR"), Exit.USAGE, "the result has 64×48 pixels"),
        (("--results", "set", "--reference", "set/HR"), Exit.USAGE, "no pictures in 'set'"),
        (("--rows", "bicubic"), Exit.USAGE, "there is nothing to measure"),
        (("set", "--rows", "realesrgan", "--scale", "2"), Exit.USAGE, "enlarges four times"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured(coser, pictures, monkeypatch, words, code, said):
    monkeypatch.setenv("TORCH_HOME", str(pictures))
    ran = coser("evaluate", *words)
    assert ran.code == code
    assert said in " ".join(ran.err.split())
    assert ran.out == ""


def test_one_picture_has_no_interval(coser, pictures):
    os.remove("set/HR/b.png")
    ran = coser("evaluate", "set", "--rows", "bicubic", "--metrics", "psnr_y", "--json")
    assert evaluations(ran)["bicubic"]["statistics"]["psnr_y"]["interval"] is None
    assert coser("evaluate", "set", "--rows", "bicubic", "--metrics", "psnr_y").code == Exit.OK


def test_nothing_at_all_is_asked(coser):
    assert coser("evaluate").code == Exit.USAGE


@pytest.mark.parametrize("recipe", ["bicubic", "coser", "realesrgan"])
def test_pairs_are_made_again_alike(coser, pictures, recipe):
    def make(folder, *words):
        ran = coser("evaluate", "make-pairs", "set/HR", "-o", folder, "--recipe", recipe, *words)
        assert ran.code == Exit.OK, ran.err
        return [(pictures / folder / "LR" / f"{name}.png").read_bytes() for name in "ab"]

    first = make("one", "--seed", 1)
    assert make("two", "--seed", 1) == first
    assert (make("three", "--seed", 2) == first) == (recipe == "bicubic")
    os.remove("set/HR/b.png")  # a picture's degradation does not depend on the others
    coser("evaluate", "make-pairs", "set/HR", "-o", "four", "--recipe", recipe, "--seed", 1)
    assert (pictures / "four/LR/a.png").read_bytes() == first[0]
    ran = coser("evaluate", "one", "--rows", "bicubic", "--metrics", "psnr_y", "--json")
    assert ran.records[0]["pictures"] == 2


def test_the_manifest_of_pairs(coser, pictures):
    ran = coser("evaluate", "make-pairs", "set/HR", "-o", "out", "--crop", 32, "--seed", 5)
    assert (ran.code, ran.out) == (Exit.OK, "out/manifest.json\n")
    manifest = json.loads((pictures / "out/manifest.json").read_text())
    assert {key: manifest[key] for key in ("recipe", "scale", "seed", "crop")} == {
        "recipe": "bicubic", "scale": 4, "seed": 5, "crop": 32,
    }  # fmt: skip
    assert manifest["pictures"][0] | {"source_sha256": ""} == {
        "name": "a.png", "source": "a.png", "source_sha256": "",
        "reference_size": [32, 32], "input_size": [8, 8],
    }  # fmt: skip
    with Image.open("out/HR/a.png") as image, Image.open("set/HR/a.png") as whole:
        assert image.tobytes() == whole.crop((16, 8, 48, 40)).tobytes()


def test_what_cannot_become_pairs(coser, pictures):
    (pictures / "set/HR/bad.png").write_bytes(b"no picture")
    ran = coser("evaluate", "make-pairs", "set/HR", "-o", "out")
    assert ran.code == Exit.FAILED
    assert "bad.png" in ran.err
    assert sorted(os.listdir("out/LR")) == ["a.png", "b.png"]
    for words, said in [
        (("set/HR", "-o", "out"), "'out' has HR already"),
        (("set/HR", "-o", "set", "--overwrite"), "'set' holds the true pictures themselves"),
        (("nowhere", "-o", "new"), "cannot read 'nowhere'"),
        (("set/HR", "-o", "new", "--crop", 30), "--crop 30 is no multiple of --scale 4"),
    ]:
        ran = coser("evaluate", "make-pairs", *words)
        assert ran.code == Exit.USAGE
        assert said in ran.err
    Image.new("RGB", (8, 8)).save("set/HR/a.webp")
    ran = coser("evaluate", "make-pairs", "set/HR", "-o", "new")
    assert "'a.png' and 'a.webp' would have the same name" in ran.err


@pytest.mark.skipif(os.name != "posix", reason="the system limits no file's size")
def test_no_room_for_pairs_leaves_nothing_behind(coser, pictures):
    import resource
    import signal

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # room for LR, not for HR
    try:
        ran = coser("evaluate", "make-pairs", "set/HR", "-o", "new/pairs")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert ran.code == Exit.FAILED
    assert "cannot write 'new/pairs/HR/a.png': file too large" in ran.err
    assert not (pictures / "new").exists()


def test_no_temporary_folder_is_named(coser, pictures, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(pictures / "nowhere")])
    ran = coser("evaluate", "set", "--rows", "bicubic", "--metrics", "psnr_y", "--page", "p.html")
    assert ran.code == Exit.FAILED
    assert ran.err.endswith(
        "coser: no folder for temporary files can be written; set TMPDIR to one that can\n"
    )


def test_metrics_are_listed_with_what_they_lack(coser, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    records = coser("evaluate", "metrics", "--json").records
    check(records, *["metric"] * len(records))
    found = {record["name"]: record for record in records}
    assert found["psnr_y"]["state"] == "ready"
    assert found["lpips"]["command"] == "coser evaluate metrics --fetch lpips"
    ran = coser("evaluate", "metrics")
    assert "feature_distance  less    true picture  ready" in ran.out
    assert "coser evaluate metrics --fetch lpips,dists" in ran.err


def test_fetching_is_refused_offline(coser, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("COSER_OFFLINE", "1")
    ran = coser("evaluate", "metrics", "--fetch", "lpips")
    assert ran.code == Exit.WEIGHTS
    assert "COSER_OFFLINE" in ran.err


def test_a_study_from_page_to_count(coser, pictures):
    os.rename("tool", "A")
    os.mkdir("B")
    for name in ("a", "b"):
        Image.new("RGB", (64, 48), (90, 9, 9)).save(f"B/{name}.png")
    ran = coser("evaluate", "study", "A", "B", "--input", "set/LR", "-o", "s.html", "--json")
    assert ran.code == Exit.OK, ran.err
    check(ran.records, "study")
    assert ran.records[0]["pairs"] == 2
    page = (pictures / "s.html").read_text(encoding="utf-8")
    start = page.index('id="data">') + len('id="data">')
    data = json.loads(page[start : page.index("</script>", start)])
    assert [trial["methods"] for trial in data["trials"]] == [["A", "B"]] * 2
    choices = [
        {"picture": "a", "left": "A", "right": "B", "choice": "left", "seconds": 1},
        {"picture": "b", "left": "B", "right": "A", "choice": "equal", "seconds": 1},
    ]
    answer = {key: data[key] for key in ("type", "version", "study")}
    answer |= {"session": "x", "participant": "", "choices": choices}
    (pictures / "x.json").write_text(json.dumps(answer))
    ran = coser("evaluate", "study", "--tally", "x.json", "--json")
    check(ran.records, "tally")
    assert {key: ran.records[0][key] for key in ("first", "wins", "losses", "equal")} == {
        "first": "A", "wins": 1, "losses": 0, "equal": 1,
    }  # fmt: skip
    lines = coser("evaluate", "study", "--tally", "x.json").out.splitlines()
    assert lines[1].split() == ["A", "B", "1", "0", "1", "100.0", "%", "20.7", "to", "100.0", "%"]


def test_a_study_names_pictures_that_it_cannot_ask_about(coser, pictures):
    """With three methods a picture of two of them is asked about, though the first lacks it."""
    os.rename("tool", "A")
    for name, places in {"a": "BC", "c": "BC", "d": "C"}.items():
        for place in places:
            os.makedirs(place, exist_ok=True)
            Image.new("RGB", (64, 48), (90, 9, 9)).save(f"{place}/{name}.png")
    ran = coser("evaluate", "study", "A", "B", "C", "-o", "s.html")
    assert ran.code == Exit.OK, ran.err
    note, made = ran.err.splitlines()
    assert note == "note: left out, as fewer than two methods have them: b_4x, d"
    assert made.startswith("4 pairs; ")  # three about a, one about c


def test_results_of_two_sizes_are_no_study(coser, pictures):
    os.rename("tool", "A")
    os.rename("set/LR", "B")
    ran = coser("evaluate", "study", "A", "B", "-o", "s.html")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert ran.err.startswith("coser: 'a_4x' has 64×48 pixels in A and 16×12 pixels in B; ")
    assert not os.path.exists("s.html")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("A", "-o", "s.html"), "at least two folders"),
        (("A", "A", "-o", "s.html"), "two folders have the same name"),
        (("A", "set/HR"), "a study is an HTML page"),
        (("A", "none", "-o", "s.html"), "cannot read 'none'"),
        (("A", "B", "-o", "s.html"), "no picture is in two of the folders"),
        (("--tally", "none.json"), "cannot read 'none.json'"),
        (("--tally", "A/a_4x.png"), "has no choices of a study"),
        (("--tally", "x.json", "-o", "s.html"), "leave --output and --input out"),
    ],
)
def test_what_is_no_study(coser, pictures, words, said):
    os.rename("tool", "A")
    os.mkdir("B")
    Image.new("RGB", (8, 8)).save("B/z.png")
    ran = coser("evaluate", "study", *words)
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1
