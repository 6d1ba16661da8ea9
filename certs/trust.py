"""How a person has each browser and system trust the local authority, and how to take that back.

Text as data, with the path and fingerprints of one authority filled in. Runs nothing and changes nothing.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from .summary import Summary

NSS_TOOLS = "certutil is in libnss3-tools (Debian, Ubuntu), nss-tools (Fedora, RHEL) or nss (Arch, Homebrew)."
EACH_FIREFOX = (
    "for db in ~/.mozilla/firefox/*/cert9.db ~/.config/mozilla/firefox/*/cert9.db "
    "~/snap/firefox/common/.mozilla/firefox/*/cert9.db; do "
    '[ ! -e "$db" ] || certutil -d "sql:$(dirname "$db")" -n {name} '
)


@dataclass(frozen=True, slots=True)
class Way:
    """Hold how one browser, system or program trusts an authority: lines to read, `$` before those to paste.

    The fields in braces are `ca` (its path, quoted for sh), `name` (what to call it in a store or as a copy)
    and `sha1` (its fingerprint without colons, by which macOS and Windows find it).
    """

    title: str
    trust: tuple[str, ...]
    untrust: tuple[str, ...]


WAYS: dict[str, Way] = {
    "debian": Way(
        "Debian and Ubuntu: curl, wget, Python, PHP and all else that uses the system's store",
        (
            "$ sudo install -m 0644 {ca} /usr/local/share/ca-certificates/{name}.crt",
            "$ sudo update-ca-certificates",
        ),
        (
            "$ sudo rm /usr/local/share/ca-certificates/{name}.crt",
            "$ sudo update-ca-certificates --fresh",
        ),
    ),
    "fedora": Way(
        "Fedora, RHEL and their relatives: the system's store",
        (
            "$ sudo install -m 0644 {ca} /etc/pki/ca-trust/source/anchors/{name}.pem",
            "$ sudo update-ca-trust extract",
        ),
        ("$ sudo rm /etc/pki/ca-trust/source/anchors/{name}.pem", "$ sudo update-ca-trust extract"),
    ),
    "arch": Way(
        "Arch Linux: the system's store",
        ("$ sudo trust anchor --store {ca}",),
        ("$ sudo trust anchor --remove {ca}",),
    ),
    "macos": Way(
        "macOS: Safari, Chrome, Edge, and Firefox from 120 on",
        ("$ sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {ca}",),
        ("$ sudo security delete-certificate -t -Z {sha1} /Library/Keychains/System.keychain",),
    ),
    "windows": Way(
        "Windows: Edge, Chrome, and Firefox from 120 on, for your user",
        (
            "Copy the file to the machine as {name}.crt; then in a command prompt there:",
            "$ certutil -user -addstore Root {name}.crt",
        ),
        ("In a command prompt:", "$ certutil -user -delstore Root {sha1}"),
    ),
    "firefox": Way(
        "Firefox on Linux, which has a store for each profile (close it first)",
        (
            f"$ {EACH_FIREFOX}-A -t C,, -i {{ca}}; done",
            NSS_TOOLS,
            "Or by hand: Settings, Privacy & Security, View Certificates, Authorities, Import (websites).",
            "Or for all users, as a policy, with a copy that everybody may read; policies.json in",
            "/etc/firefox/policies holds:",
            '{{"policies": {{"Certificates": {{"Install": ["/usr/local/share/{name}.crt"]}}}}}}',
        ),
        (
            f"$ {EACH_FIREFOX}-D; done",
            NSS_TOOLS,
            "Or by hand: Settings, Privacy & Security, View Certificates, Authorities, wsfront,",
            "Delete or Distrust.",
            "If a policy installed it, remove it from policies.json first.",
        ),
    ),
    "chrome": Way(
        "Chrome, Chromium, Edge and Brave on Linux",
        (
            "$ mkdir -p -m 0700 ~/.pki/nssdb",
            "$ [ -e ~/.pki/nssdb/cert9.db ] || certutil -N -d sql:$HOME/.pki/nssdb --empty-password",
            "$ certutil -A -d sql:$HOME/.pki/nssdb -t C,, -n {name} -i {ca}",
            NSS_TOOLS,
            "Chromium as a snap reads ~/snap/chromium/current/.pki/nssdb instead. Restart the browser.",
        ),
        (
            "$ certutil -D -d sql:$HOME/.pki/nssdb -n {name}",
            NSS_TOOLS,
            "Chromium as a snap reads ~/snap/chromium/current/.pki/nssdb instead. Restart the browser.",
        ),
    ),
    "android": Way(
        "Android: Chrome; other apps only if they accept a user's authorities",
        (
            "Copy the file to the device as {name}.crt; then Settings, Security,",
            "Encryption & credentials, Install a certificate, CA certificate.",
            "Firefox also wants: Settings, About Firefox, tap the logo",
            "five times, then Settings, Secret settings, Use third party CA certificates.",
        ),
        ("Settings, Security, Encryption & credentials, User credentials, wsfront, Remove.",),
    ),
    "ios": Way(
        "iOS and iPadOS",
        (
            "Send the file to the device as {name}.crt (AirDrop, mail) and open it there; then",
            "Settings, Profile Downloaded, Install; then Settings, General, About,",
            "Certificate Trust Settings: switch wsfront on.",
        ),
        ("Settings, General, VPN & Device Management, wsfront, Remove Profile.",),
    ),
    "curl": Way(
        "curl alone",
        ("$ curl --cacert {ca} https://localhost:8443/",),
        ("Leave out --cacert.",),
    ),
    "python": Way(
        "Python alone: the first for ssl and websockets, the second for requests",
        (
            "$ export SSL_CERT_FILE={ca}",
            "$ export REQUESTS_CA_BUNDLE={ca}",
            "Each replaces the public authorities; in code: ssl.create_default_context(cafile=…).",
        ),
        ("$ unset SSL_CERT_FILE REQUESTS_CA_BUNDLE",),
    ),
    "node": Way(
        "Node alone",
        ("$ export NODE_EXTRA_CA_CERTS={ca}",),
        ("$ unset NODE_EXTRA_CA_CERTS",),
    ),
}


def steps(system: str, ca: Path, facts: Summary, *, undo: bool = False) -> list[str]:
    """Return the lines for one of `WAYS`, filled in for an authority: its path and its facts."""
    way = WAYS[system]
    name = f"wsfront-{facts.sha256.replace(':', '')[:12].lower()}"
    return [
        line.format(ca=shlex.quote(str(ca.absolute())), name=name, sha1=facts.sha1.replace(":", ""))
        for line in (way.untrust if undo else way.trust)
    ]
