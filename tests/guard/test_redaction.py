"""Secrets are found whole, in pieces, overlapping and escaped; other text stays as it is."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from agent.guard import redaction
from agent.guard.redaction import Redactor

# Few letters, so that needles overlap each other and themselves; no mask character in them.
values = st.lists(st.text("abä\n", min_size=4, max_size=9), min_size=1, max_size=4)
pieces = st.lists(st.text("abcä\n", max_size=12), max_size=12)


def redactor_of(*values: str) -> Redactor:
    redactor = Redactor()
    for value in values:
        redactor.register(value)
    return redactor


@given(values, pieces)
@example(["aaaa"], ["aa", "aa", "aa", "b"])
@example(["abab", "babb"], ["aba", "bb"])
def test_pieces_give_the_result_of_the_whole(values, pieces):
    """Where the text is cut makes no difference."""
    redactor = redactor_of(*values)
    stream = redactor.stream()

    shown = "".join(map(stream.feed, pieces)) + stream.flush()

    assert redactor.redact("".join(pieces)) == shown


@given(values, pieces)
def test_no_value_gets_out(values, pieces):
    """No value is in what is shown, in no piece and in no sum of pieces."""
    stream = redactor_of(*values).stream()

    shown = "".join(map(stream.feed, pieces)) + stream.flush()

    assert not [value for value in values if value in shown]


@given(values, st.binary(max_size=60), st.integers(1, 5))
def test_other_bytes_pass_unchanged(values, noise, size):
    """Bytes that are not UTF-8 neither raise nor change."""
    stream = redactor_of(*("needle-" + value for value in values)).byte_stream()

    shown = b"".join(stream.feed(noise[at : at + size]) for at in range(0, len(noise), size))

    assert noise == shown + stream.flush()


@given(values, pieces)
def test_the_held_part_is_shorter_than_the_longest_value(values, pieces):
    """Memory stays bounded by the values, not by the text."""
    stream = redactor_of(*values).byte_stream()

    for piece in pieces:
        stream.feed(piece.encode())

        longest = max(len(form) for value in values for form in redaction.forms(value))
        assert len(stream._held) < 2 * longest


def test_a_line_is_not_held_back_without_need():
    """What can't be the beginning of a value is shown at once."""
    stream = redactor_of("hunter-2222").stream()

    assert "epoch 1 done\n" == stream.feed("epoch 1 done\n")
    assert "token is " == stream.feed("token is hun")
    assert "***!" == stream.feed("ter-2222!")


def test_overlapping_values_leave_no_tail():
    """Of two values that overlap, both go entirely."""
    assert "<***>" == redactor_of("abcdef", "defxyz").redact("<abcdefxyz>")


def test_the_longer_of_two_values_goes_as_a_whole():
    assert "<***>" == redactor_of("pass", "passphrase").redact("<passphrase>")


def test_neighbours_are_replaced_each():
    assert "******, ***" == redactor_of("swordfish").redact("swordfishswordfish, swordfish")


def test_a_text_without_a_value_is_returned_as_it_is():
    """The very same object: callers see by it whether anything was replaced."""
    text = "nothing of note"

    assert redactor_of("swordfish").redact(text) is text


def test_short_values_are_left_alone():
    """Redacting "no" would mangle every text."""
    assert "no news" == redactor_of("no", "", "new").redact("no news")


def test_each_long_line_of_a_value_is_a_secret():
    """A key printed line by line, or indented, is still that key."""
    redactor = redactor_of("-----BEGIN\nMIIBVgIBADANBg\n  kqhkiG9w0BAQEF\nEND\n")

    shown = redactor.redact("1: MIIBVgIBADANBg\n2:\tkqhkiG9w0BAQEF END")

    assert "1: ***\n2:\t*** END" == shown


def test_a_trailing_newline_does_not_hide_a_value():
    """Files often end in one, and what uses the secret strips it."""
    assert "x=***;" == redactor_of("s3cr3t\n").redact("x=s3cr3t;")


def test_a_value_is_found_in_json():
    """Quotes, newlines and other letters are escaped there."""
    value = 'päss"word\\1'
    redactor = redactor_of(value)

    assert '{"k": "***"}' == redactor.redact(json.dumps({"k": value}))
    assert '{"k": "***"}' == redactor.redact(json.dumps({"k": value}, ensure_ascii=False))


def test_lone_surrogates_pass():
    """Python text may hold them; they neither raise nor change."""
    assert "\ud800 *** \udfff" == redactor_of("s3cr3t").redact("\ud800 s3cr3t \udfff")


def test_a_value_registered_during_a_stream_counts_at_once():
    redactor = Redactor()
    stream = redactor.stream()
    stream.feed("before ")

    redactor.register("fresh-secret")

    assert "***" == stream.feed("fresh-secret")


def test_the_value_registered_longest_ago_is_forgotten(monkeypatch):
    """Memory is bounded, and using a value again keeps it."""
    monkeypatch.setattr(redaction, "MOST_FORMS", 2)
    redactor = redactor_of("first-1", "second-2", "first-1", "third-3")

    assert "*** second-2 ***" == redactor.redact("first-1 second-2 third-3")


def test_repr_shows_no_value():
    assert "<Redactor forms=1>" == repr(redactor_of("swordfish"))
