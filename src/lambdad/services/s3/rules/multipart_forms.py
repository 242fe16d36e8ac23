"""multipart/form-data, read as it arrives: the fields before the file, then the file's bytes. Source: RFC 7578, RFC 2046 section 5.1."""

import re
from email.message import Message
from typing import Final, NamedTuple

from lambdad.services.s3 import errors

HEAD_BYTES: Final = 8 * 1024
FIELDS_BYTES: Final = 20 * 1024 + 64 * 1024  # S3 lets a form have 20 KB beside the file; policies come on top

_NAME = re.compile(r'(?:^|;)\s*name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FILENAME = re.compile(r'(?:^|;)\s*filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


class FileHead(NamedTuple):
    """The file's name on the browser's machine, without folders; its type as the browser says."""

    filename: str
    content_type: str


def boundary_of(content_type: str) -> bytes:
    """
    Return what stands between a form's parts.

    Raises:
        MalformedPost: the Content-Type names none.
    """
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    if not boundary or len(boundary) > 200 or not boundary.isascii():
        raise errors.MalformedPost
    return boundary.encode()


class FormReader:
    """One form. Feed it what arrives; once `file` is there, `feed` returns the file's bytes."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}  # names in lower case
        self.file: FileHead | None = None
        self.ended = False  # the file is whole
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # so that the first delimiter is like the others
        self._read_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """
        Take what has arrived, cut anywhere.

        Raises:
            MalformedPost: it is no form.
            S3Error: MaxPostPreDataLengthExceeded, the fields are too long.
        """
        if self.ended:
            return b""
        self._buffer += data
        while self.file is None:
            if not self._read_part():
                self._read_bytes = len(self._buffer) + sum(len(name) + len(value) for name, value in self.fields.items())
                if self._read_bytes > FIELDS_BYTES:
                    raise errors.S3Error(
                        "MaxPostPreDataLengthExceeded",
                        "Your POST request fields preceding the upload file was too large.",
                        MaxPostPreDataLengthBytes=FIELDS_BYTES,
                    )
                return b""
        return self._read_file()

    def finish(self) -> None:
        """
        Hear that nothing more comes.

        Raises:
            MalformedPost: the form has not ended.
            InvalidArgument: there is no file in it.
        """
        if self.file is None and not self._is_last():
            raise errors.MalformedPost
        if self.file is None:
            raise errors.InvalidArgument("POST requires exactly one file upload per request.", "file", "0")
        if not self.ended:
            raise errors.MalformedPost

    def _is_last(self) -> bool:
        return bytes(self._buffer).startswith(self._delimiter + b"--")

    def _read_part(self) -> bool:
        """Read one field, or the head of the file; False where more must arrive."""
        buffer, start = self._buffer, len(self._delimiter)
        if len(buffer) < start + 2:
            return False
        if not buffer.startswith(self._delimiter):
            raise errors.MalformedPost
        if buffer[start : start + 2] == b"--":
            return False
        head_end = buffer.find(b"\r\n\r\n", start)
        if head_end < 0:
            if len(buffer) - start > HEAD_BYTES:
                raise errors.MalformedPost
            return False
        headers = _headers(bytes(buffer[start:head_end]))
        disposition = headers.get("content-disposition", "")
        name = _NAME.search(disposition)
        if name is None:
            raise errors.MalformedPost
        field = _unescaped(name[1]).lower()
        if field == "file":
            filename = _FILENAME.search(disposition)
            short = re.split(r"[\\/]", filename[1])[-1] if filename is not None else ""
            self.file = FileHead(_unescaped(short), headers.get("content-type", ""))
            del buffer[: head_end + 4]
            return True
        value_end = buffer.find(self._delimiter, head_end + 2)
        if value_end < 0:
            return False
        value = bytes(buffer[head_end + 4 : value_end])
        try:
            self.fields[field] = value.decode()
        except UnicodeDecodeError:
            raise errors.MalformedPost from None
        del buffer[:value_end]
        return True

    def _read_file(self) -> bytes:
        buffer = self._buffer
        end = buffer.find(self._delimiter)
        if end >= 0:
            self.ended = True
            found = bytes(buffer[:end])
            buffer.clear()
            return found
        sure = max(len(buffer) - len(self._delimiter) + 1, 0)
        found = bytes(buffer[:sure])
        del buffer[:sure]
        return found


def _headers(head: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            found[name.strip().lower().decode("latin-1")] = value.strip().decode("utf-8", "replace")
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text).replace("%22", '"')
