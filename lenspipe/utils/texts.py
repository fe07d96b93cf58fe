"""Texts in files: their encoding."""

import codecs

__all__ = ["decode_text"]

_BYTE_ORDER_MARKS = (
    # Before those of UTF-16, with which they begin.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_text(content: bytes) -> tuple[str, str]:
    """Decode a text file; return the text and the encoding.

    UTF-8 and UTF-16, with or without a byte-order mark; UTF-32 with one; anything else is
    Windows-1252, Excel's version of Latin-1.

    Raises
    ------
    ValueError
        It is not a text.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding), encoding
    # ASCII characters in UTF-16 have a zero in every other byte.
    start = content[:2000]
    zeros = [start[place::2].count(0) / max(len(start[place::2]), 1) for place in (0, 1)]
    if max(zeros) > 0.4 and min(zeros) < 0.1:
        encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
        return content.decode(encoding), encoding
    if b"\0" in content:
        raise ValueError("it is not a text: it has zero bytes")
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    try:
        text, encoding = content.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        text, encoding = content.decode("latin-1"), "Latin-1"
    if sum(character < " " and not character.isspace() for character in text) > len(text) / 100:
        raise ValueError("it is not a text")
    return text, encoding
