"""What `lambdad demo` brings along: a picture that is drawn, zips of functions, and Pillow as a layer where a photograph needs it."""

import importlib.metadata
import io
import math
import struct
import subprocess
import sys
import zipfile
import zlib
from importlib import resources
from pathlib import Path

PILLOW = "pillow>=10"
PLAIN_PIXELS = 4_000_000  # about a second without Pillow
_PNG = b"\x89PNG\r\n\x1a\n"
_PLAIN_COLOURS = (0, 2, 4, 6)  # without a palette
_HEADER_AT, _HEADER_END = 16, 29  # of what a PNG says about itself


def draw(width: int, height: int) -> bytes:
    """Draw a sunrise over waves, as PNG."""
    rows = bytearray()
    centre_x, centre_y, radius = width // 2, int(height * 0.55), height // 5
    for y in range(height):
        rows.append(0)
        sea = y > height * 0.62
        for x in range(width):
            if sea:
                wave = int(25 * math.sin(x / 23 + y / 9) + 25 * math.sin(x / 51 - y / 17))
                rows += bytes((20 + wave // 3 + 17, 70 + wave, 120 + wave))
            elif (x - centre_x) ** 2 + (y - centre_y) ** 2 < radius * radius:
                rows += b"\xff\xe0\x70"
            else:
                glow = y * 255 // height
                rows += bytes((60 + glow // 2, 40 + glow // 3, 110 - glow // 5))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(rows), 6)) + chunk(b"IEND", b"")


def needs_pillow(picture: bytes) -> bool:
    """Say whether the function needs Pillow for a picture: it reads plain PNG by itself, and is too slow for large ones."""
    if not picture.startswith(_PNG) or len(picture) < _HEADER_END:
        return True
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", picture, _HEADER_AT)
    return depth != 8 or colour not in _PLAIN_COLOURS or bool(interlaced) or width * height > PLAIN_PIXELS


def function_zip(name: str) -> bytes:
    """Pack one of the demo's functions."""
    return zipped({name: resources.files("lambdad.cli.demo_functions").joinpath(name).read_bytes()})


def pillow_layer(cache: Path) -> bytes:
    """
    Pack Pillow as a layer for this Python: the one that is installed, or one that pip fetches.

    Args:
        cache: a folder for what is fetched; what is there already is used.

    Raises:
        CalledProcessError: it is not installed, and pip does not get it.
    """
    try:
        distribution = importlib.metadata.distribution("pillow")
    except importlib.metadata.PackageNotFoundError:
        if not (cache / "PIL").is_dir():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
            subprocess.run([*command, "--target", str(cache), PILLOW], check=True)
        found = [(str(path.relative_to(cache)), path) for path in sorted(cache.rglob("*"))]
    else:
        found = [(str(file), Path(str(file.locate()))) for file in distribution.files or ()]
    files = {f"python/{name}": path for name, path in found if path.is_file() and "__pycache__" not in path.parts and ".." not in name}
    return zipped({name: path.read_bytes() for name, path in files.items()})


def zipped(files: dict[str, bytes]) -> bytes:
    """Pack files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()
