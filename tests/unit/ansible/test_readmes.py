"""The roles' READMEs: made of meta/argument_specs.yml, which Ansible itself holds callers to.

`pytest tests/unit/ansible --update-golden` writes them anew.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted((Path(__file__).parents[3] / "ansible" / "roles").iterdir())


def readme(role: Path) -> str:
    """Return the README that a role should have."""
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    lines = [f"# Role `{role.name}`", ""]
    for name in sorted(specs, key=lambda each: (each != "main", each)):
        if name != "main":
            lines += ["", f"## `tasks_from: {name}`", ""]
        lines += entry(specs[name])
    return "\n".join([*lines, "", "Made from `meta/argument_specs.yml`: change that.", ""])


def entry(spec: dict[str, Any]) -> Iterator[str]:
    """Write one way into a role: what it does, and the variables that it takes."""
    yield f"{spec['short_description']}."
    if described := sentences(spec.get("description", [])):
        yield ""
        yield from (f"- {sentence}" for sentence in described)
    if spec.get("options"):
        yield from ("", "| variable | type | default | |", "|---|---|---|---|")
        for name, option in spec["options"].items():
            kind = option.get("type", "str")
            if "choices" in option:
                kind = " or ".join(f"`{choice}`" for choice in option["choices"])
            default = "required" if option.get("required") else f"`{written(option.get('default'))}`"
            yield f"| `{name}` | {kind} | {default} | {' '.join(sentences(option['description']))} |"


def sentences(text: str | list[str]) -> list[str]:
    """Return paragraphs, one or several, a line each."""
    return [" ".join(part.split()) for part in ([text] if isinstance(text, str) else text)]


def written(value: object) -> str:
    """Write a value as YAML does."""
    return str(yaml.safe_dump(value, default_flow_style=True)).removesuffix("...\n").strip()


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_readme(role: Path, request: pytest.FixtureRequest) -> None:
    """The README says what the role's argument specification says."""
    path = role / "README.md"
    if request.config.getoption("--update-golden"):
        path.write_text(readme(role), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == readme(role)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults(role: Path) -> None:
    """The defaults in the specification, which Ansible only documents, are those in defaults/main.yml, which it uses."""
    path = role / "defaults" / "main.yml"
    used = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    options = {name: option for spec in specs.values() for name, option in spec.get("options", {}).items()}
    said = {name: option["default"] for name, option in options.items() if "default" in option}
    assert {name: value for name, value in used.items() if name in options} == said
