"""Command lines that together have every option of every command once, and what they must leave.

They run in the folder of `conftest.originals`. Small pictures, the bundled model.
"""

from dataclasses import dataclass
from importlib.util import find_spec

PAIR = "sets/pair"
DIFFUSE = "--strength 0.2 --steps 1"


@dataclass(frozen=True)
class Case:
    """A command line without `coser`; `makes` are files, `out` and `err` regular expressions.

    A `quick` case is one of the few that the default tests run.
    """

    line: str
    code: int = 0
    makes: tuple[str, ...] = ()
    out: str = ""
    err: str = ""
    quick: bool = False


def _pictures(command: str) -> list[Case]:
    """What `upscale` and `tile` have in common."""
    return [
        Case(
            f"{command} photo.jpg -s 2 --dry-run --json --tile-size 64 --overlap 16",
            out='"type": "plan"',
            quick=command == "upscale",
        ),
        Case(
            f"{command} photo.jpg --scale 2 --output out/ --overwrite --model mini --device cpu"
            " --dtype float32 --json",
            makes=("out/photo_2x.png",),
            out='"status": "done".*\n.*"status": "success"',
            quick=True,
        ),
        Case(
            f"{command} photo.jpg -s 2 --mask mask.png -o masked.png --json",
            makes=("masked.png",),
            out='"mask": "mask.png"',
            quick=True,
        ),
        Case(
            f"{command} photo.jpg -s 2 --strength 0 --pre-restorer network.pth -o own.png",
            makes=("own.png",),
        ),
        Case(f"{command} photo.jpg --pre-restorer photo.jpg", code=3, err="photo.jpg.*not one of"),
        Case(f"{command} photo.jpg --mask photo.jpg", code=2, err="--mask: .* in colour"),
        Case(
            f"{command} photo.jpg --condition edges=mask.png",
            code=2,
            err="condition.*edges",
        ),
        Case(
            f"{command} photos --recursive -s 2 -o out/ --quiet --log run.log --fail-fast",
            makes=("out/a_2x.png", "out/trip/d_2x.png", "run.log"),
        ),
        Case(
            f"{command} --from-file list.txt -s 2 -o out/ --name '{{stem}}-{{index}}{{ext}}'"
            " --format jpeg --quality 80 --chroma 420 --batch-size 2",
            makes=("out/a-1.jpg", "out/d-2.jpg"),
        ),
        Case(
            f"{command} moving.gif --all-frames --width 36 -o out/",
            makes=("out/moving-1_36w.png", "out/moving-2_36w.png"),
        ),
        Case(f"{command} photo.jpg --height 24 -o high.png", makes=("high.png",)),
        Case(
            f"{command} photo.jpg --max-side 36 --strip-metadata -o out.webp --lossless",
            makes=("out.webp",),
        ),
        Case(
            f"{command} photo.jpg --config coser.toml --compare",
            makes=("photo_3x.png", "photo_3x_compare.png"),
        ),
        Case(f"{command} photo.jpg -s 2 --fast --model mini", makes=("photo_2x.png",)),
        Case(f"{command} photo.jpg -s 2 --balanced", makes=("photo_2x.png",)),
        Case(
            f"{command} photo.jpg -s 2 --best --model mini",
            code=2,
            err="the model mini has no --best",
        ),
        Case(
            f"{command} photo.jpg -s 2 --strength 0.3 --steps 2 --sampler euler --seed 7"
            " --guidance-scale 2 --guidance-interval 0 0.5 --deep-interval 2 --fidelity 0.5"
            " --color-fix wavelet --control-weight 0.8 --reference-weight 0.5",
            makes=("photo_2x.png",),
        ),
        Case(
            f"{command} photo.jpg -s 2 {DIFFUSE} --prompt 'a cat' --negative-prompt blurry"
            " --reference-mode none",
            makes=("photo_2x.png",),
        ),
        Case(
            f"{command} photo.jpg -s 2 {DIFFUSE} --references 2 --reference-select clip"
            " --reference-steps 1 --reference-guidance-scale 1.2 --reference-strength 0.3"
            " --save-reference",
            makes=("photo_2x.png", "photo_2x_reference.png"),
            err="is used",
        ),
        Case(
            f"{command} photo.jpg -s 2 --reference other.jpg --save-reference=refs/",
            makes=("photo_2x.png", "refs/photo_2x_reference.png"),
        ),
        Case(
            f"{command} huge.jpg -s 4 {DIFFUSE} --tile-size 32 --overlap 16 --tile-batch 2"
            " --tile-jitter --max-memory 4GiB --temp-dir .",
            makes=("huge_4x.png",),
        ),
        Case(f"{command} photo.jpg -s 2 {DIFFUSE} --offload model", makes=("photo_2x.png",)),
        Case(f"{command} photo.jpg -s 2 --low-memory", makes=("photo_2x.png",)),
        Case(f"{command} photo.jpg -s 2 --warm", makes=("photo_2x.png",)),
        Case(f"{command} photo.jpg -s 2 --compile", makes=("photo_2x.png",)),
        Case(f"{command} photo.jpg -s 2 {DIFFUSE} --deep-interval 2", makes=("photo_2x.png",)),
        Case(f"{command} --help-all", out="--deep-interval"),
        *_spread(f"{command} photos/a.jpg 'photos/b c.jpg' -s 2 -o out/"),
    ]


def _spread(words: str) -> list[Case]:
    """Two pictures on several workers; what this machine lacks must be said in a line."""
    both = ("out/a_2x.png", "out/b c_2x.png")
    cases = [Case(f"{words} --devices cpu,cpu", makes=both)]
    if find_spec("ray") is None:
        return [
            *cases,
            Case(f"{words} --cluster auto", code=2, err=r"coser: .*coser-cli\[cluster\]"),
        ]
    return [*cases, Case(f"{words} --cluster auto", makes=both)]


REFERENCE = [
    Case("reference photo.jpg -s 2 --dry-run", out="photo_reference.png"),
    Case(
        "reference photo.jpg --scale 2 --output out/ --overwrite --model mini --device cpu"
        " --dtype float32 --json --steps 1",
        makes=("out/photo_reference.png",),
        out='"status": "success"',
        quick=True,
    ),
    Case(
        "reference photos --recursive -s 2 -o out/ --steps 1 --quiet --log run.log --fail-fast",
        makes=("out/a_reference.png", "run.log"),
    ),
    Case(
        "reference --from-file list.txt -s 2 -o out/ --name '{stem}-{index}{ext}' --format jpeg"
        " --quality 80 --chroma 420 --batch-size 2 --steps 1",
        makes=("out/a-1.jpg", "out/d-2.jpg"),
    ),
    Case(
        "reference moving.gif --all-frames --width 36 -o out/ --steps 1",
        makes=("out/moving-1_reference.png", "out/moving-2_reference.png"),
    ),
    Case("reference photo.jpg --height 24 --steps 1 -o high.png", makes=("high.png",)),
    Case(
        "reference photo.jpg --max-side 36 --steps 1 --strip-metadata --lossless -o out.webp",
        makes=("out.webp",),
    ),
    Case("reference photo.jpg --config coser.toml --steps 1", makes=("photo_reference.png",)),
    Case("reference photo.jpg -s 2 --steps 1 --balanced", makes=("photo_reference.png",)),
    Case(
        "reference photo.jpg -s 2 --best --model mini", code=2, err="the model mini has no --best"
    ),
    Case("reference photo.jpg -s 2 --steps 1 --fast", makes=("photo_reference.png",)),
    Case(
        "reference photo.jpg -s 2 --references 2 --steps 2 --sampler euler --seed 7"
        " --guidance-scale 2 --guidance-interval 0 0.5 --strength 0.3 --deep-interval 2"
        " --prompt 'a cat' --negative-prompt blurry --reference-mode global",
        makes=("photo_references.png", "photo_reference-1.png", "photo_reference-2.png"),
    ),
    Case(
        "reference huge.jpg -s 4 --steps 1 --tile-size 32 --overlap 16 --tile-batch 2"
        " --tile-jitter --max-memory 4GiB --temp-dir .",
        makes=("huge_reference.png",),
    ),
    Case("reference photo.jpg -s 2 --steps 1 --offload model", makes=("photo_reference.png",)),
    Case("reference photo.jpg -s 2 --steps 1 --low-memory", makes=("photo_reference.png",)),
    Case(
        "reference photo.jpg -s 2 --steps 1 --pre-restorer network.pth",
        makes=("photo_reference.png",),
    ),
    Case("reference photo.jpg -s 2 --steps 1 --no-warm", makes=("photo_reference.png",)),
    Case("reference photo.jpg -s 2 --dry-run --compile", out="photo_reference.png"),
    Case("reference --help-all", out="--deep-interval"),
]

PAGES = [
    Case(
        "compare photo.jpg other.jpg --output page.html --overwrite --max-side 100 --json",
        makes=("page.html",),
        out='"status": "done"',
        quick=True,
    ),
    Case("compare photo.jpg other.jpg --quiet", makes=("other_compare.html",)),
    Case("report photos --recursive --max-side 64 -o page.html", makes=("page.html",)),
    Case("report photos --overwrite --json", makes=("photos/report.html",), out='"done"'),
    Case("report photos --log log.jsonl --quiet", makes=("photos/report.html",)),
]

MANIFEST = "--manifest manifest.toml --dest weights"
WEIGHTS = [
    Case("download-weights --list", out="sd21-base", quick=True),
    Case("download-weights --dry-run --json", out='"download_bytes"'),
    Case(f"download-weights {MANIFEST} --print-pins --mirror {{host}}", out="one"),
    Case(
        f"download-weights {MANIFEST} --accept-license free --trust-first-use --keep-originals"
        " --dtype float16 --mirror {host} --quiet",
        makes=("weights/one/one.safetensors",),
    ),
    Case(
        f"download-weights {MANIFEST} --import one.safetensors --as one --accept-license free"
        " --offline",
        makes=("weights/one/one.safetensors",),
    ),
    Case(
        f"download-weights {MANIFEST} --from-dir . --accept-license free --yes",
        makes=("weights/one/one.safetensors",),
    ),
    Case("download-weights --verify --strict --json", out='"type": "summary"'),
    Case(f"download-weights {MANIFEST} --pin pinned.toml", code=3, err="coser: "),
]

INFO = [
    Case("info --device cpu --dtype float32 --json", out='"installed": true', quick=True),
    Case("info", out="mini"),
    Case("info photo.jpg", code=1, err="coser: .*no record"),
]

KEEPING = "--idle-timeout 2s --max-models 1 --max-memory 1GiB"
SERVING = [
    Case("serve status --json", code=1, out='"running": false', quick=True),
    Case("serve stop", err="no server runs"),
    Case(f"serve start {KEEPING}", err="serves at"),
    Case(f"serve run {KEEPING}", err="listens at"),
]

MEASURING = [
    Case(
        "bench speed --size 8 --repeat 1 --warmup 0 --networks --tiles 64 --model mini"
        " --device cpu --dtype float32 --scale 2 --steps 1 --sampler ddim --strength 0.2"
        " --guidance-scale 1.5 --reference-guidance-scale 1.5 --seed 1 --quiet --json",
        out='"type": "stage"',
    ),
    Case("bench speed --size 8 --repeat 1 --warmup 0 --steps 1 --synthetic", out="random weights"),
    Case(
        f"bench quality {PAIR} --samplers ddim --steps 1 --intervals 0-1 --reference-steps same"
        " --strength 0.2 --baseline-steps 1 --seeds 2 --seed 1 --scale 4 --crop 8 --count 1"
        " --results found.jsonl --plot plot.svg --overwrite --model mini --device cpu"
        " --dtype float32 --quiet --json",
        makes=("found.jsonl", "plot.svg"),
    ),
    Case("bench quality sets/pair --measured", code=2, err="name it with --results"),
    Case(
        f"evaluate measure {PAIR} --rows bicubic,no-diffusion --metrics psnr_y --against bicubic"
        " --scores scores.csv --page page.html --save kept --overwrite --scale 4 --model mini"
        " --device cpu --dtype float32 --steps 1 --sampler ddim --strength 0 --fidelity 1"
        " --guidance-scale 1 --seed 1 --json",
        makes=("scores.csv", "page.html", "kept"),
        out='"psnr_y"',
    ),
    Case(f"evaluate {PAIR} --rows bicubic --metrics psnr_y", out="bicubic"),
    Case(
        f"evaluate measure --reference {PAIR}/HR --input {PAIR}/LRx4 --rows bicubic"
        f" --results {PAIR}/HR --metrics psnr_y --quiet",
        out="bicubic",
    ),
    Case(f"evaluate measure {PAIR} --protocol none --accept-license none", code=2, err="coser: "),
    Case("evaluate metrics --json", out="psnr_y"),
    Case("evaluate metrics --fetch none --accept-license none", code=2, err="coser: "),
    Case(
        f"evaluate make-pairs {PAIR}/HR --recipe bicubic --scale 4 --crop 32 --seed 1"
        " --output made --overwrite --quiet",
        makes=("made/HR/p.png", "made/LR/p.png", "made/manifest.json"),
    ),
    Case(
        f"evaluate study {PAIR}/HR sets/results --question Better? --max-side 64 --output page.html"
        f" --input {PAIR}/LRx4 --overwrite --quiet --json",
        makes=("page.html",),
    ),
    Case("evaluate study --tally none.json", code=2, err="coser: "),
]

TRAINED = "train srresnet --data captioned --config recipe.toml --work runs"
TRAINING = [
    Case(f"{TRAINED} --samples-every 0", makes=("runs/srresnet/checkpoint.pt",)),
    Case(
        f"{TRAINED} --dry-run --gpus 2 --rate 10 --mixed-precision no --accumulation 1"
        " --no-gradient-checkpointing --data-workers 0 --samples-every 0 --no-tensorboard",
        out="parameters",
    ),
]

CASES = [
    *_pictures("upscale"),
    *_pictures("tile"),
    *REFERENCE,
    *_spread(
        "reference photos/a.jpg 'photos/b c.jpg' -s 2 -o out/ --steps 1 --name '{stem}_2x{ext}'"
    ),
    *PAGES,
    *WEIGHTS,
    *INFO,
    *SERVING,
    *MEASURING,
    *TRAINING,
]
