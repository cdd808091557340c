from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_dra_driver.checkpoint import (
    Checkpoint,
    ClaimRecord,
    CorruptCheckpointError,
    Phase,
    PreparedDevice,
    decode,
    encode,
    encode_record,
)

text = st.text(max_size=20)
devices = st.builds(
    PreparedDevice, text, text, text, st.sampled_from(["gpu", "mig"]), text, text, st.booleans(), st.none() | text
)
records = st.builds(
    ClaimRecord, text, text, text, st.sampled_from(Phase), text, st.lists(devices, max_size=3).map(tuple)
)
checkpoints = st.lists(records, max_size=4).map(lambda each: {record.uid: record for record in each})

RECORD = ClaimRecord(
    "uid-1",
    "default",
    "claim",
    Phase.COMPLETED,
    "boot",
    (PreparedDevice("r", "node-a", "gpu-0", "gpu", "GPU-1", "GPU-1"),),
)


def written(known: dict[str, ClaimRecord]) -> str:
    return encode("boot", {uid: encode_record(record) for uid, record in known.items()})


@given(checkpoints)
def test_what_is_written_is_read(known: dict[str, ClaimRecord]) -> None:
    assert decode(written(known)) == known


@given(checkpoints, st.data())
def test_no_change_of_the_file_goes_unnoticed(known: dict[str, ClaimRecord], data: st.DataObject) -> None:
    good = written(known)
    where = data.draw(st.integers(0, len(good) - 1))
    bad = good[:where] + data.draw(st.characters(min_codepoint=32, max_codepoint=126)) + good[where + 1 :]
    with suppress(CorruptCheckpointError):
        assert decode(bad) == known  # the same character, or white space between the values


@given(checkpoints, st.data())
def test_half_a_file_is_refused(known: dict[str, ClaimRecord], data: st.DataObject) -> None:
    good = written(known).rstrip()
    with pytest.raises(CorruptCheckpointError):
        decode(good[: data.draw(st.integers(0, len(good) - 1))])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"checksum":1,"v1":{"preparedClaims":{}},"v2":{}}', "not written by this driver"),
        ('{"version": 2}', "format version is 2"),
        ("[]", "not written by this driver"),
        ("", "it is empty"),
        ("\x00\x00", "not a checkpoint"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "checkpoint.json").write_text(content)
    with pytest.raises(CorruptCheckpointError, match=reason):
        Checkpoint(tmp_path / "checkpoint.json", "boot").load()


def test_records_survive_and_the_file_can_be_read_by_a_person(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    checkpoint = Checkpoint(path, "boot")
    checkpoint.load()
    checkpoint.put(RECORD)
    document = json.loads(path.read_text())
    assert document["preparedClaims"]["uid-1"]["devices"][0]["name"] == "gpu-0"
    assert (document["version"], document["nodeBootID"]) == (1, "boot")
    assert path.stat().st_mode & 0o777 == 0o600

    again = Checkpoint(path, "boot")
    again.load()
    assert again.records() == (RECORD,)
    again.delete("uid-1")
    again.delete("uid-1")
    assert json.loads(path.read_text())["preparedClaims"] == {}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.json"], "no temporary file stays"


def test_what_another_process_wrote_is_noticed(tmp_path: Path) -> None:
    mine, theirs = (Checkpoint(tmp_path / "checkpoint.json", "boot") for _ in range(2))
    mine.put(RECORD)
    theirs.load()
    theirs.put(replace(RECORD, uid="uid-2"))
    mine.load_if_changed()
    assert {record.uid for record in mine.records()} == {"uid-1", "uid-2"}


def test_concurrent_changes_all_reach_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    checkpoint = Checkpoint(path, "boot")
    missing: list[str] = []

    def work(number: int) -> None:
        for turn in range(10):
            uid = f"uid-{number}-{turn}"
            checkpoint.put(replace(RECORD, uid=uid))
            if uid not in path.read_text():
                missing.append(uid)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    assert len(decode(path.read_text())) == 80
