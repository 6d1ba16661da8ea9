"""Writing a run's results: results.json, results.md, and the pictures."""

import json
from pathlib import Path

from .errors import BenchFault
from .report import markdown
from .results import Results


def write(results: Results, directory: Path) -> list[Path]:
    """Write all files; return them.

    Raises:
        BenchFault: the folder cannot be written to.
    """
    from .plots import draw  # noqa: PLC0415 (a large library, for the end of a run alone)

    try:
        directory.mkdir(parents=True, exist_ok=True)
        pictures = draw(results, directory)
        text = markdown(results)
        for picture in pictures:
            text += f"\n![{picture.stem}]({picture.name})\n"
        files = {"results.json": json.dumps(results.data(), indent=2) + "\n", "results.md": text}
        for name, content in files.items():
            (directory / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise BenchFault(
            f"{error.filename or directory}: {error.strerror}: make room, or choose another folder with --out"
        ) from None
    return [*(directory / name for name in files), *pictures]
