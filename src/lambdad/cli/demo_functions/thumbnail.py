"""Write a thumbnail of every picture that comes into a bucket into another bucket.

PNG without interlacing needs nothing but the standard library; everything else, and a nicer filter, comes with Pillow if that is there.
"""

import io
import itertools
import json
import os
import struct
import time
import urllib.parse
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3

try:
    from PIL import Image
except ImportError:
    Image = None

WIDTH = 160
SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by the colour type of PNG

s3 = boto3.client("s3")


def handler(event: dict[str, Any], context: Any) -> None:
    """Take an event notification of S3."""
    for record in event["Records"]:
        began_s = time.perf_counter()
        bucket = record["s3"]["bucket"]["name"]
        key = urllib.parse.unquote_plus(record["s3"]["object"]["key"])
        picture = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        small, width, height = shrink(picture, WIDTH)
        target = f"{key.rpartition('.')[0]}.png"
        s3.put_object(Bucket=os.environ["THUMBNAILS"], Key=target, Body=small, ContentType="image/png")
        arrived = datetime.fromisoformat(record["eventTime"].replace("Z", "+00:00"))
        said = {
            "thumbnail": target,
            "width": width,
            "height": height,
            "bytes": len(small),
            "handler_ms": round((time.perf_counter() - began_s) * 1000, 1),
            "since_arrival_ms": round((datetime.now(UTC) - arrived).total_seconds() * 1000, 1),
        }
        print(json.dumps(said))


def shrink(picture: bytes, width: int) -> tuple[bytes, int, int]:
    """Make a PNG of a picture, so many pixels wide at most; returns it with its width and height."""
    if Image is not None:
        opened = Image.open(io.BytesIO(picture)).convert("RGB")
        width = min(width, opened.width)
        small = opened.resize((width, max(1, opened.height * width // opened.width)), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        small.save(out, "PNG")
        return out.getvalue(), small.width, small.height
    header, rows = decode(picture)
    full_width, full_height, channels = header
    width = min(width, full_width)
    height = max(1, full_height * width // full_width)
    return encode(box_filter(rows, full_width, full_height, width, height, channels), width, channels), width, height


def decode(png: bytes) -> tuple[tuple[int, int, int], list[bytes]]:
    """Read a PNG of 8 bits a channel: its width, height and channels, and its rows."""
    if not png.startswith(SIGNATURE):
        raise ValueError("without Pillow only PNG can be read")
    packed = b""
    index = len(SIGNATURE)
    header = (0, 0, 0, 0, 0, 0, 0)
    while index < len(png):
        length, kind = struct.unpack_from(">I4s", png, index)
        data = png[index + 8 : index + 8 + length]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", data)
        elif kind == b"IDAT":
            packed += data
        index += length + 12
    width, height, depth, colour, _, _, interlaced = header
    if depth != 8 or colour not in CHANNELS or interlaced:
        raise ValueError("without Pillow only PNG of 8 bits a channel, without palette and interlacing, can be read")
    channels = CHANNELS[colour]
    return (width, height, channels), list(unfilter(zlib.decompress(packed), width * channels, channels))


def unfilter(raw: bytes, stride: int, step: int) -> Iterator[bytes]:
    """Undo the filters of a PNG's rows; a byte's neighbour to the left is `step` bytes away."""
    above = bytearray(stride)
    for begin in range(0, len(raw), stride + 1):
        kind = raw[begin]
        row = bytearray(raw[begin + 1 : begin + 1 + stride])
        if kind == 1:
            for i in range(step, stride):
                row[i] = row[i] + row[i - step] & 255
        elif kind == 2:
            for i in range(stride):
                row[i] = row[i] + above[i] & 255
        elif kind == 3:
            for i in range(stride):
                left = row[i - step] if i >= step else 0
                row[i] = row[i] + (left + above[i]) // 2 & 255
        elif kind == 4:
            for i in range(stride):
                left, corner = (row[i - step], above[i - step]) if i >= step else (0, 0)
                row[i] = row[i] + nearest(left, above[i], corner) & 255
        yield bytes(row)
        above = row


def nearest(left: int, up: int, corner: int) -> int:
    """Choose a neighbour as Paeth's filter does."""
    guess = left + up - corner
    to_left, to_up, to_corner = abs(guess - left), abs(guess - up), abs(guess - corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner


def box_filter(rows: list[bytes], full_width: int, full_height: int, width: int, height: int, channels: int) -> Iterator[bytes]:
    """Give rows in which every pixel is the mean of those that it stands for."""
    lefts = [x * full_width // width for x in range(width + 1)]
    for y in range(height):
        block = rows[y * full_height // height : (y + 1) * full_height // height]
        sums = list(map(sum, zip(*block, strict=True)))  # of each column
        row = bytearray()
        for left, right in itertools.pairwise(lefts):
            for channel in range(channels):
                column = sums[left * channels + channel : right * channels : channels]
                row.append(sum(column) // (len(column) * len(block)))
        yield bytes(row)


def encode(rows: Iterator[bytes], width: int, channels: int) -> bytes:
    """Write rows as PNG."""
    colour = next(colour for colour, count in CHANNELS.items() if count == channels)
    raw = [b"\x00" + row for row in rows]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, len(raw), 8, colour, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(raw), 6)) + chunk(b"IEND", b"")
