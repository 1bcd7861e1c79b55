"""
contrib/collectors: each configuration against the rules of the log's files (contrib/collectors/README.md). rsyslog and syslog-ng, which Debian has, read a log
that is being written and put aside; the others are held against what their manuals say, and run as well where they are installed.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest
import yaml

from kit.foreign import unpacked
from kit.relay import ROOT
from kit.wait import until
from test_log import Written

FOLDER = pathlib.Path(ROOT) / "contrib/collectors"
LINE_MAX = 16384
FEW_VALUES = {"event", "node", "class", "listener", "destination", "user", "tls_policy", "job", "__path__", "instance"}


def conf_of(name):
    return yaml.safe_load((FOLDER / name).read_text())


def sections(text):
    """Of Fluent Bit's classic format: [(NAME, {key: value})…]."""
    found = []
    for line in text.splitlines():
        if m := re.match(r"\[(\w+)\]", line):
            found.append((m.group(1), {}))
        elif m := re.match(r"\s+([\w.]+)\s+(.+)", line.split("#")[0].rstrip()):
            found[-1][1][m.group(1)] = m.group(2).strip()
    return found


def check_patterns(patterns, by_content):
    """The live file, never a compressed one; put-aside ones only by who knows a file by its content."""
    names = [pathlib.PurePath(p) for p in patterns]
    assert any(n.match("delivery.jsonl") for n in names)
    live, aside, packed = (pathlib.PurePath(n) for n in ("delivery.jsonl", "delivery-20260102T030405Z-17.jsonl", "delivery-20260102T030405Z-17.jsonl.zst"))
    assert any(live.match(p.name) for p in names)
    assert not any(packed.match(p.name) for p in names)
    assert any(aside.match(p.name) for p in names) == by_content


def test_vector():
    source = conf_of("vector.yaml")["sources"]["postwain"]
    check_patterns(source["include"], by_content=True)
    assert source["fingerprint"] == {"strategy": "checksum", "lines": 1, "ignored_header_bytes": 0}, "the first line, which is unique"
    assert source["read_from"] == "beginning" and source["max_line_bytes"] > LINE_MAX
    assert "rotate_wait_secs" not in source, "the default is to read a removed file to its end"
    if vector := shutil.which("vector"):
        subprocess.run([vector, "validate", "--no-environment", str(FOLDER / "vector.yaml")], check=True)


def test_filebeat():
    source, = conf_of("filebeat.yml")["filebeat.inputs"]
    assert source["type"] == "filestream" and "file_identity.fingerprint" in source
    check_patterns(source["paths"], by_content=True)
    fingerprint = source["prospector.scanner"]["fingerprint"]
    assert fingerprint["enabled"] and fingerprint["offset"] == 0 and fingerprint["length"] <= 1024
    assert source["message_max_bytes"] > LINE_MAX
    assert source["close.on_state_change.renamed"] is False and source["close.on_state_change.removed"] is False
    if filebeat := shutil.which("filebeat"):
        subprocess.run([filebeat, "test", "config", "-c", str(FOLDER / "filebeat.yml")], check=True)


def test_fluent_bit():
    parts = sections((FOLDER / "fluent-bit.conf").read_text())
    tail = dict(parts)["INPUT"]
    check_patterns(tail["Path"].split(","), by_content=False)
    assert tail["DB"] and tail["Read_from_Head"] == "true" and int(tail["Rotate_Wait"]) >= 5 and tail["Skip_Long_Lines"] == "Off"
    assert all(int(tail[key].rstrip("k")) * 1024 > LINE_MAX for key in ("Buffer_Chunk_Size", "Buffer_Max_Size"))
    parser = dict(sections((FOLDER / "fluent-bit-parsers.conf").read_text()))["PARSER"]
    assert parser["Name"] == tail["Parser"] and parser["Format"] == "json" and parser["Time_Key"] == "time"
    if fluent_bit := shutil.which("fluent-bit"):
        subprocess.run([fluent_bit, "--dry-run", "-c", str(FOLDER / "fluent-bit.conf")], check=True, cwd=FOLDER)


def test_promtail():
    conf = conf_of("promtail.yaml")
    job, = conf["scrape_configs"]
    labels = job["static_configs"][0]["labels"]
    check_patterns([labels["__path__"]], by_content=False)
    assert conf["positions"]["filename"]
    of_events = next(stage["labels"] for stage in job["pipeline_stages"] if "labels" in stage)
    assert {*labels, *of_events} <= FEW_VALUES, "a label with many values is the end of a Loki"
    if promtail := shutil.which("promtail"):
        subprocess.run([promtail, "-config.file", str(FOLDER / "promtail.yaml"), "-check-syntax"], check=True)


def test_every_field_that_a_configuration_names_is_in_the_schema():
    known = set(json.loads((pathlib.Path(ROOT) / "contrib/schema/postwain-events.v1.json").read_text())["properties"])
    stages = conf_of("promtail.yaml")["scrape_configs"][0]["pipeline_stages"]
    assert set(stages[0]["json"]["expressions"].values()) <= known
    assert set(re.findall(r"postwain\.(\w+)", (FOLDER / "filebeat.yml").read_text())) <= known
    assert set(re.findall(r"(?<![\w.])\.(\w+)", conf_of("vector.yaml")["transforms"]["postwain_events"]["source"])) - {"message", "timestamp"} <= known


BEHIND_MAX = 1_000_000  # octets, half of what is written between two files


def pace(log, copy):
    """Holds up who writes while the collector is far behind: it is to lose nothing, not to be quick on this machine."""
    def behind():
        written = sum(path.stat().st_size for path in log.dir.glob("delivery*.jsonl") if path.exists())
        return written - (copy.stat().st_size if copy.exists() else 0)

    while log.process.poll() is None:
        if behind() > BEHIND_MAX:
            log.process.send_signal(signal.SIGSTOP)
            try:
                until(lambda: behind() < BEHIND_MAX // 4, 30, lambda: f"the collector stays {behind()} octets behind")
            finally:
                log.process.send_signal(signal.SIGCONT)
        time.sleep(0.02)


def follow(log, copy, argv, pid, env=None):
    """A collector beside a log that is written: 2,000 events a second, a new file every two seconds. All of it comes out, each line as it was written."""
    daemon = subprocess.Popen(list(map(str, argv)), stderr=subprocess.PIPE, env=env)
    try:
        until(pid.exists, 20, "the collector is there")
        log.start()
        pace(log, copy)
        last = log.end()
        until(lambda: copy.exists() and copy.read_bytes().count(b"\n") >= last, 30, lambda: f"{copy.read_bytes().count(10) if copy.exists() else 0} of {last}")
    finally:
        daemon.terminate()
        daemon.communicate(timeout=120)
    lines = copy.read_bytes().splitlines()
    written = [line for path in [*log.dir.glob("delivery-*.jsonl"), log.live] for line in path.read_bytes().splitlines() if b'"seq"' in line[:12]]
    print(f"{len(lines)} of {last} events, {len(log.put_aside())} files put aside")
    assert len(log.put_aside()) >= 2
    assert sorted(json.loads(line)["seq"] for line in lines) == list(range(1, last + 1))
    assert sorted(line.strip() for line in lines) == sorted(written)


def placed(name, folder):
    """A configuration of ours, with its folders moved; (its file, where the copy goes)."""
    copy, file = folder / "copy.jsonl", folder / name
    file.write_text((FOLDER / name).read_text().replace("/var/log/postwain-copy.jsonl", str(copy)).replace("/var/log/postwain", str(folder)))
    return file, copy


def test_rsyslog_reads_all_of_it(tmp_path):
    """2,000 events a second, a new file every two seconds: each line comes out once, as it was written."""
    rsyslogd = shutil.which("rsyslogd", path=os.environ["PATH"] + ":/usr/sbin")
    if not rsyslogd:
        pytest.skip("rsyslogd is not installed")
    log = Written(tmp_path, seconds=5, compress=0)
    conf, copy = placed("rsyslog.conf", tmp_path)
    conf.write_text(f'global(workDirectory="{tmp_path}" maxMessageSize="64k")\n' + conf.read_text())
    p = subprocess.run([rsyslogd, "-N1", "-f", conf], capture_output=True, text=True)
    assert p.returncode == 0 and "error" not in p.stderr.lower(), p.stderr
    follow(log, copy, [rsyslogd, "-n", "-i", tmp_path / "pid", "-f", conf], tmp_path / "pid")


SYSLOG_NG = ("syslog-ng-core", "libivykis0", "libnet1")


def test_syslog_ng_reads_all_of_it(tmp_path):
    """The same. Debian's package cannot be installed beside rsyslog: it is unpacked into a folder."""
    folder = unpacked(*SYSLOG_NG)
    if not folder:
        pytest.skip(f"{SYSLOG_NG} cannot be downloaded")
    try:
        log = Written(tmp_path, seconds=5, compress=0)
        conf, copy = placed("syslog-ng.conf", tmp_path)
        modules, = folder.glob("usr/lib/syslog-ng/[0-9]*")
        libraries, = folder.glob("usr/lib/*-linux-gnu")
        env = {**os.environ, "LD_LIBRARY_PATH": f"{modules.parent}:{libraries}"}
        argv = [folder / "usr/sbin/syslog-ng", "-F", "-f", conf, f"--module-path={modules}", "-R", tmp_path / "persist", "-c", tmp_path / "control",
                "-p", tmp_path / "pid"]
        p = subprocess.run([*map(str, argv), "-s"], capture_output=True, text=True, env=env)
        assert p.returncode == 0, p.stderr
        follow(log, copy, argv, tmp_path / "pid", env)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.cache_clear()
