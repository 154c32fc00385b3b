"""DNS messages as bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.model.dnsmessage import AAAA, A, Code, Record, answer, answers, encode_name, read_question
from sim.dns import query


def test_a_question_is_read_in_lower_case_and_without_its_last_dot() -> None:
    question = read_question(query("Web.Inside.internal.", A, identity=7))
    assert question is not None
    assert (question.identity, question.name, question.kind, question.recursive) == (7, "web.inside.internal", A, True)


def test_an_answer_is_bit_for_bit_what_the_rfc_says() -> None:
    question = read_question(query("web", A, identity=0x1234))
    assert question is not None
    reply = answer(question, [Record(A, bytes([10, 77, 0, 10]))])
    assert reply.hex(" ") == (
        "12 34 85 80 00 01 00 01 00 00 00 00 03 77 65 62 00 00 01 00 01 c0 0c 00 01 00 01 00 00 00 1e 00 04 0a 4d 00 0a"
    )
    assert answer(question, code=Code.NO_SUCH_NAME)[3] & 0x0F == 3


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0" * 11,
        query("web", A)[:-1],
        query("web", A)[:14],
        answer(read_question(query("web", A)) or pytest.fail(), []),
        struct.pack(">HHHHHH", 1, 0x2800, 1, 0, 0, 0) + query("web", A)[12:],
        struct.pack(">HHHHHH", 1, 0x0100, 2, 0, 0, 0) + query("web", A)[12:],
        struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1",
        query("web", A)[:-1] + b"\3",
        struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\1\0\1",
    ],
    ids=["empty", "short", "no class", "no end", "a reply", "an update", "two", "pointer", "chaos", "too long"],
)
def test_what_is_no_question_is_none(message: bytes) -> None:
    assert read_question(message) is None


@given(st.binary(max_size=300))
def test_no_bytes_break_it(message: bytes) -> None:
    question = read_question(message)
    assert question is None or message[12:].startswith(question.raw)


def test_a_reply_has_the_identity_and_the_question_of_its_query() -> None:
    asked = query("web.example", AAAA, identity=9)
    reply = struct.pack(">HHHHHH", 9, 0x8180, 1, 0, 0, 0) + asked[12:]
    assert answers(reply, asked)
    assert not answers(asked, asked)
    assert not answers(reply, query("web.example", AAAA, identity=10))
    assert not answers(reply, query("web.example", A, identity=9))
    assert not answers(b"\0\x09", asked)


def test_names_are_written_by_length() -> None:
    assert encode_name("web.inside") == b"\3web\6inside\0"
