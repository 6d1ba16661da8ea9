"""Read Apache's configuration and environment files as their readers do: models to hold our writing against.

Source: httpd server/util.c (ap_cfg_getline, ap_getword_conf), server/config.c (ap_build_config_sub); systemd basic/env-file.c.
"""

import re

BLANKS = " \t\n\v\f\r"  # apr_isspace in the C locale
OWN_VARIABLE = "${APACHE_LOG_DIR}"  # Debian's; the one that templates use


def directives(text: str) -> list[list[str]]:
    """Return the directives of a file, each as its name and its arguments; a section's name begins with `<`."""
    found = []
    joined = re.sub(r"\\\r?\n", "", text)
    for line in (line.strip(BLANKS) for line in joined.split("\n")):
        if not line or line.startswith("#"):
            continue
        assert "\0" not in line
        assert "${" not in line.replace(OWN_VARIABLE, "")
        opens = line.startswith("<") and not line.startswith("</")
        found.append(words(line[: line.rindex(">")] if opens else line))
    return found


def words(line: str) -> list[str]:
    """Split a line into words: blanks part them, quotes hold them together, a backslash hides quotes and backslashes."""
    found = []
    rest = line.lstrip(BLANKS)
    while rest:
        quote = rest[0] if rest[0] in "\"'" else ""
        end = start = len(quote)
        while end < len(rest) and (rest[end] != quote if quote else rest[end] not in BLANKS):
            end += 2 if quote and rest[end : end + 2] in {"\\" + quote, "\\\\"} else 1
        escapes = rf"\\([\\{quote}])"
        found.append(re.sub(escapes, r"\1", rest[start:end]))
        rest = rest[end + len(quote) :].lstrip(BLANKS)
    return found


def environment(text: str) -> dict[str, str]:
    """Read an environment file as systemd does, whose values we always put in double quotes."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        key, _, _ = text[position:].partition("=")
        position += len(key) + 1
        assert text[position] == '"'
        position += 1
        value = ""
        while text[position] != '"':
            if text[position] == "\\":
                position += 1
                value += text[position] if text[position] in '"\\`$' else "\\" + text[position]
            else:
                value += text[position]
            position += 1
        assert text[position + 1] == "\n"
        position += 2
        found[key] = value
    return found
