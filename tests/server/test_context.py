"""A worker works under its client's folder, umask, environment and cores."""

import json
import os
import subprocess
import sys

import pytest

from coser_cli.server.codec import to_json
from coser_cli.server.context import inherited, own_context, read_at_start, sees_the_same
from coser_cli.server.protocol import Context

ADOPTED = """
import json, os, sys, tempfile, time
from coser_cli.server.codec import from_json
from coser_cli.server.context import adopt
from coser_cli.server.protocol import Context
tempfile.gettempdir()
adopt(from_json(Context, json.loads(sys.argv[1])))
umask = os.umask(0)
print(json.dumps([os.getcwd(), umask, dict(os.environ), tempfile.gettempdir(), time.tzname[0]]))
"""


def test_adopted(tmp_path):
    environment = {"TMPDIR": str(tmp_path), "NEW": "ä\udcff", "TZ": "XYZ-3"}
    context = Context(str(tmp_path), (), 0o027, environment)
    words = [sys.executable, "-c", ADOPTED, json.dumps(to_json(context))]
    told = json.loads(subprocess.check_output(words, env={**os.environ, "OLD": "1"}))
    assert told == [str(tmp_path), 0o027, environment, str(tmp_path), "XYZ"]


def test_of_this_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o123)
    try:
        context = own_context()
        assert os.umask(0o123) == 0o123  # it is as it was
    finally:
        os.umask(before)
    assert context.folder == str(tmp_path)
    assert context.umask == 0o123
    assert context.environment == dict(os.environ)
    assert sees_the_same(context)


def test_another_folder_of_that_name_is_noticed(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    context = own_context()
    folder.rename(tmp_path / "there")
    assert not sees_the_same(context)
    folder.mkdir()
    assert not sees_the_same(context)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no such call")
def test_a_process_inherits_them(tmp_path):
    before, cores = dict(os.environ), os.sched_getaffinity(0)
    context = Context(str(tmp_path), (), 0o022, {"OMP_NUM_THREADS": "3"}, (min(cores),))
    program = "import os; print(dict(os.environ)['OMP_NUM_THREADS'], os.sched_getaffinity(0))"
    with inherited(context):
        told = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert told == f"3 {{{min(cores)}}}\n"
    assert (dict(os.environ), os.sched_getaffinity(0)) == (before, cores)


def test_what_libraries_read_when_they_are_loaded():
    one = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "0", "PWD": "/a", "COSER_SCALE": "2"}
    other = one | {"PWD": "/b", "COSER_SCALE": "4", "SHLVL": "3"}
    assert read_at_start(one) == read_at_start(other)
    assert read_at_start(one) != read_at_start(one | {"OMP_NUM_THREADS": "2"})
    assert read_at_start(one) != read_at_start(one | {"LD_PRELOAD": "x.so"})
