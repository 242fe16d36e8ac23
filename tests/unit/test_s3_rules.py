"""What S3 decides about requests: names, ranges, conditions, checksums, tags, policies, forms."""

import base64
import fnmatch
import hashlib
import json
import re
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.services.s3 import errors
from lambdad.services.s3.rules import checksums, conditions, cors, names, parts, policies, post_policies, ranges, tags, websites
from lambdad.services.s3.rules.multipart_forms import FormReader, boundary_of
from lambdad.services.s3.rules.parts import Part


@given(st.integers(0, 20), st.integers(0, 25), st.integers(0, 25))
def test_ranges_are_slices(size: int, first: int, last: int) -> None:
    """A range is a slice of the bytes, or none at all."""
    data = bytes(range(size))
    for header, expected in (
        (f"bytes={first}-{last}", data[first : last + 1] if first <= last else data),
        (f"bytes={first}-", data[first:]),
        (f"bytes=-{last}", data[max(size - last, 0) :]),
    ):
        try:
            span = ranges.requested(header, size)
        except errors.InvalidRange:
            assert expected == b""
            continue
        got = data if span is None else data[span.start : span.end]
        assert got == expected, header


@pytest.mark.parametrize("header", [None, "", "bytes", "bytes=-", "bytes=a-b", "items=1-2", "bytes=0-1,3-4", "bytes=1", "bytes=--1"])
def test_ranges_that_are_ignored(header: str | None) -> None:
    """What is not understood means the whole object."""
    assert ranges.requested(header, 10) is None


def test_copy_ranges_are_strict() -> None:
    """A copy's range lies within its source, both ends written out."""
    assert ranges.of_copy("bytes=0-9", 10) == (0, 10)
    for header in ("bytes=0-10", "bytes=-5", "bytes=5-", "0-1", "bytes=5-4"):
        with pytest.raises(errors.InvalidArgument):
            ranges.of_copy(header, 10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bucket/key", ("bucket", "key", None)),
        ("/bucket/a/b", ("bucket", "a/b", None)),
        ("bucket/a%20b%3Fversion?versionId=null", ("bucket", "a b?version", "null")),
        ("bucket/a?b", ("bucket", "a?b", None)),
        ("bucket%2Fkey", ("bucket", "key", None)),
    ],
)
def test_copy_sources(text: str, expected: tuple[str, str, str | None]) -> None:
    """Sources are read in all the forms that clients write."""
    assert names.copy_source(text) == expected


def test_conditions_have_precedence() -> None:
    """If-Match goes before dates, If-None-Match before If-Modified-Since; lists and weak tags are understood."""
    at_ms = 1_700_000_000_500
    earlier, same = datetime.fromtimestamp(1_600_000_000, UTC), datetime.fromtimestamp(1_700_000_000, UTC)
    conditions.check_read({"IfMatch": '"a", "e"', "IfUnmodifiedSince": earlier}, '"e"', at_ms)
    conditions.check_read({"IfNoneMatch": '"x"', "IfModifiedSince": same}, '"e"', at_ms)
    conditions.check_read({"IfUnmodifiedSince": same}, '"e"', at_ms)
    with pytest.raises(errors.NotModified):
        conditions.check_read({"IfNoneMatch": 'W/"e"'}, '"e"', at_ms)
    with pytest.raises(errors.PreconditionFailed):
        conditions.check_read({"CopySourceIfNoneMatch": "e"}, '"e"', at_ms, prefix="CopySource")


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4), st.sampled_from(checksums.ALGORITHMS))
def test_digests_do_not_mind_cuts(data: bytes, cuts: list[int], algorithm: str) -> None:
    """Bytes have the same digests however they arrive, and CRCs of parts combine to that of the whole."""
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    pieces = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    digests = checksums.Digests(algorithm)
    for piece in pieces:
        digests.update(piece)
    assert digests.md5 == hashlib.md5(data).digest() and digests.size_bytes == len(data)
    assert digests.checksum(algorithm) == checksums.of(algorithm, data)
    checksums.check(algorithm, checksums.of(algorithm, data), digests.checksum(algorithm))
    if algorithm.startswith("CRC"):
        assert checksums.combined(algorithm, [(checksums.of(algorithm, piece), len(piece)) for piece in pieces]) == checksums.of(
            algorithm, data
        )


def test_known_checksums() -> None:
    """The check values of the CRC catalogues."""
    known = {"CRC32": 0xCBF43926, "CRC32C": 0xE3069283, "CRC64NVME": 0xAE8B14860A799888}
    for algorithm, value in known.items():
        assert int.from_bytes(base64.b64decode(checksums.of(algorithm, b"123456789")), "big") == value
    assert base64.b64decode(checksums.of("CRC32", b"x")) == zlib.crc32(b"x").to_bytes(4, "big")


def test_what_makes_a_whole() -> None:
    """Parts that are named, in order, and large enough make an object."""
    there = {
        number: Part(number=number, size_bytes=6 * 1024**2, md5=f"{number:032x}", checksum=checksums.of("CRC32", b""))
        for number in (1, 2, 7)
    }
    named = [{"PartNumber": number, "ETag": f'"{part.md5}"'} for number, part in there.items()]
    whole = parts.complete("u", named, there, "CRC32", "COMPOSITE")
    assert whole.etag.endswith("-3") and whole.checksum.endswith("-3") and whole.size_bytes == 18 * 1024**2
    with pytest.raises(errors.InvalidPartOrder):
        parts.complete("u", named[::-1], there, "CRC32", "COMPOSITE")
    with pytest.raises(errors.InvalidPart):
        parts.complete("u", [{"PartNumber": 3, "ETag": "x"}], there, "CRC32", "COMPOSITE")


@pytest.mark.parametrize("header", ["a=1&b=2&a=3", "%zz=\udcff", "a=1&=2", "a=" + "x" * 257, "a=;", "=", "aws:a=1"])
def test_tags_that_are_refused(header: str) -> None:
    """Tags that are twice there, too long, nameless, AWS's own or of other characters are refused."""
    with pytest.raises(errors.S3Error):
        tags.of_header(header)


def test_tags_of_headers() -> None:
    """Tags are decoded as forms are."""
    assert tags.of_header("a=1&b+c=d%20e&f=") == {"a": "1", "b c": "d e", "f": ""} and tags.of_header("bare") == {"bare": ""}
    assert tags.of_header(None) == {}


@given(st.text(st.sampled_from("ab*?"), max_size=8), st.text(st.sampled_from("ab"), max_size=8))
def test_globs(pattern: str, text: str) -> None:
    """Patterns of policies match as a naive matcher says."""
    assert policies._glob(pattern, text) == bool(re.fullmatch(fnmatch.translate(pattern), text))


def policy(**changes: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*", **changes}
    return {"Version": "2012-10-17", "Statement": [statement]}


def test_who_may_read() -> None:
    """Everybody may read what a policy opens to everybody, and nothing that another statement forbids."""
    read = ("s3:GetObject", "arn:aws:s3:::b/k")
    assert policies.lets_everybody(policy(), *read)
    assert policies.lets_everybody(policy(Principal={"AWS": ["*"]}, Action=["s3:Get*"]), *read)
    assert not policies.lets_everybody(policy(Resource="arn:aws:s3:::b/other"), *read)
    assert not policies.lets_everybody(policy(Principal={"AWS": "arn:aws:iam::111111111111:root"}), *read)
    assert not policies.lets_everybody(policy(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), *read)
    both = {"Statement": [*policy()["Statement"], *policy(Effect="Deny", Resource="*", Action="s3:*")["Statement"]]}
    assert not policies.lets_everybody(both, *read) and policies.is_public(both)
    with pytest.raises(errors.MalformedPolicy):
        policies.parsed(json.dumps(policy(Action="ec2:RunInstances")), "arn:aws:s3:::b")
    for text in ("", "[]", "{}", '{"Statement":[{}]}', json.dumps(policy(Effect="Maybe")), json.dumps(policy(Resource="arn:aws:s3:::c/*"))):
        with pytest.raises(errors.MalformedPolicy):
            policies.parsed(text, "arn:aws:s3:::b")


def test_cors_origins() -> None:
    """Origins match with one wildcard; headers too, whatever their case."""
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["https://*.example.com"], "AllowedHeaders": ["X-Amz-*"]}
    document = {"CORSRules": [rule]}
    assert dict(cors.of_answer(document, "https://a.example.com", "GET"))["Access-Control-Allow-Origin"] == "https://a.example.com"
    assert cors.of_answer(document, "https://example.com", "GET") == [] == cors.of_answer(document, "https://a.example.com", "PUT")
    assert cors.preflight(document, "https://a.example.com", "GET", "x-amz-date, X-AMZ-Meta-A")
    with pytest.raises(errors.S3Error):
        cors.preflight(document, "https://a.example.com", "GET", "authorization")
    for bad in ({"AllowedMethods": ["PATCH"], "AllowedOrigins": ["*"]}, {"AllowedMethods": ["GET"], "AllowedOrigins": ["*.*"]}):
        with pytest.raises(errors.InvalidRequest):
            cors.check({"CORSRules": [bad]})


def test_websites_send_elsewhere() -> None:
    """Routing rules send browsers elsewhere, before anything is looked for or for an error."""
    site = {
        "IndexDocument": {"Suffix": "index.html"},
        "RoutingRules": [
            {"Condition": {"HttpErrorCodeReturnedEquals": "404", "KeyPrefixEquals": "img/"}, "Redirect": {"ReplaceKeyWith": "none.png"}},
            {"Condition": {"KeyPrefixEquals": "old/"}, "Redirect": {"HostName": "x.test", "HttpRedirectCode": "302"}},
        ],
    }
    websites.check(site)
    assert websites.keys(site, "") == ("index.html", None) and websites.keys(site, "a") == ("a", "a/index.html")
    assert websites.redirect(site, "img/a", 404, "http", "h") == ("http://h/none.png", 301)
    assert websites.redirect(site, "img/a", None, "http", "h") is None
    assert websites.redirect(site, "old/a", None, "http", "h") == ("http://x.test/old/a", 302)
    with pytest.raises(errors.InvalidArgument):
        websites.check({})


def form(fields: dict[str, str], data: bytes, boundary: str = "b0und") -> bytes:
    text = "".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="/a/b c.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return b"preamble"[:0] + text.encode() + head.encode() + data + f"\r\n--{boundary}--\r\n".encode()


@given(
    st.dictionaries(st.sampled_from(["key", "acl", "Policy", "x-amz-meta-ü"]), st.text("ab\r\n-ü", max_size=12), max_size=4),
    st.binary(max_size=60).map(lambda data: data.replace(b"A", b"\r\n--b0un")),
    st.lists(st.integers(1, 40), max_size=30),
)
def test_forms_are_read_however_they_are_cut(fields: dict[str, str], data: bytes, cuts: list[int]) -> None:
    """A form's fields and its file come out whole, wherever the body is cut."""
    if b"\r\n--b0und" in data or any("\r\n--b0und" in value for value in fields.values()):
        return
    body, found = form(fields, data), b""
    reader = FormReader(boundary_of('multipart/form-data; boundary="b0und"'))
    at = 0
    for cut in [*cuts, len(body)]:
        found += reader.feed(body[at : at + cut])
        at += cut
    reader.finish()
    assert found == data and reader.fields == {name.lower(): value for name, value in fields.items()}
    assert reader.file is not None and reader.file.filename == "b c.jpg"


@pytest.mark.parametrize(
    "body", [b"", b"--b0und", b"nonsense" * 10, b"--b0und\r\nX: y\r\n\r\nz\r\n--b0und--", form({}, b"x")[:-12], b"--b0und--\r\n"]
)
def test_forms_that_are_none(body: bytes) -> None:
    """What is no form, has no file or does not end is refused."""
    reader = FormReader(b"b0und")
    with pytest.raises(errors.S3Error):
        reader.feed(body)
        reader.finish()


NOW_MS = 1_700_000_000_000


def check_form(*conditions: Any, expiration: str = "2030-01-01T00:00:00Z", **fields: str) -> Any:
    document = base64.b64encode(json.dumps({"expiration": expiration, "conditions": list(conditions)}).encode()).decode()
    return post_policies.check(post_policies.parsed(document), {"policy": document, **fields}, "bucket", NOW_MS)


def test_form_policies() -> None:
    """Each field of a form must be as its policy says, and be spoken of."""
    assert check_form({"bucket": "bucket"}, ["starts-with", "$key", "a/"], ["content-length-range", 1, "9"], key="a/b") == (1, 9)
    assert check_form(["eq", "$Key", "k"], key="k", **{"x-ignore-me": "x"}) is None
    assert check_form(["starts-with", "$key", ""], key="anything") is None
    for conditions_, fields in (
        ([{"bucket": "other"}], {}),
        ([["starts-with", "$key", "a/"]], {"key": "b"}),
        ([], {"key": "k"}),
        ([["eq", "$acl", "private"]], {}),
    ):
        with pytest.raises(errors.AccessDenied, match="Invalid according to Policy"):
            check_form(*conditions_, **fields)
    with pytest.raises(errors.AccessDenied, match="Policy expired"):
        check_form(expiration="2020-01-01T00:00:00.000Z")
    for nonsense in ("x", base64.b64encode(b"{}").decode(), base64.b64encode(b"[]").decode()):
        with pytest.raises(errors.S3Error, match="Invalid Policy"):
            post_policies.parsed(nonsense)
