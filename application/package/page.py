"""The page of an evidence package that explains it to a person: HTML without scripts."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from traffic_storage.domain.evidence_package import Completeness, Member
from traffic_storage.domain.profiles import CompletenessProfile
from traffic_storage.domain.violation import StoredViolation

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Evidence package</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { text-align: left; border-bottom: 1px solid #bbb; padding: .3rem .6rem; vertical-align: top }
code, .digest { font-family: ui-monospace, monospace; font-size: .85em; overflow-wrap: anywhere }
</style>
</head>
<body>
<h1>Evidence package</h1>
"""

_EXPLANATION = """<h2>How to check that nothing was altered</h2>
<p>The program <code>verify.py</code> in this package compares every file with the list in
<code>manifest.json</code>. It needs Python 3.8 or newer, and neither a network nor any other
software:</p>
<p><code>python3 verify.py PACKAGE.zip --expect DIGEST</code></p>
<p><code>DIGEST</code> is the SHA-256 of <code>manifest.json</code>. Whoever made the package got it
when the package was made, and gives it to you on another way than the package: on paper, by
telephone, in a file record.</p>
<p>Without this program: unpack the package, and run <code>sha256sum -c SHA256SUMS</code> in its
folder, then compare <code>sha256sum manifest.json</code> with the digest that you were given.</p>
<h2>What SHA-256 is</h2>
<p>SHA-256 is a public rule (FIPS 180-4) that calculates a number of 64 digits and letters, the
digest, from the bytes of a file. Everyone who applies the rule to the same file gets the same
digest. If a single bit of the file is changed, about half of the digest changes. Nobody knows a way
to find another file with a given digest, nor to change a file so that its digest stays the same.
A digest does not show what a file says; it is like a seal that everyone can check.</p>
<h2>What is told, and what is not</h2>
<ul>
<li>An edit of a picture, a video, a record, this page or <code>verify.py</code>: its digest differs
from the one in the manifest.</li>
<li>A file that was removed or added: the manifest lists every file.</li>
<li>An edit of the manifest: its digest differs from the one in <code>SHA256SUMS</code>, and from the
one that you were given.</li>
<li>An exchange of everything, the manifest, <code>SHA256SUMS</code> and <code>verify.py</code>
included: nothing inside the package can tell that. The digest of the manifest that you were given on
another way tells it, checked with a program that is not from the package.</li>
<li>What happened before the files were stored: the digests do not tell it.</li>
<li>Whether the evidence is enough for a procedure: the digests do not tell it. What was checked is
said under <em>Completeness</em>.</li>
</ul>
</body>
</html>
"""


def page_of(
    violations: Iterable[tuple[StoredViolation, Sequence[Member]]],
    completeness: Completeness,
    *,
    at: datetime,
    by: str,
) -> bytes:
    """Return the page of a package with these violations and the members of each."""
    sections = "".join(_section(violation, members) for violation, members in violations)
    made = f"<p>Made at {escape(at.isoformat())} by {escape(by)}.</p>\n"
    return f"{_HEAD}{made}{_completeness(completeness)}{sections}{_EXPLANATION}".encode()


def _completeness(found: Completeness) -> str:
    """Return the section that says what was demanded of the violations, and what they lack."""
    title = "<h2>Completeness</h2>\n"
    if found.chosen is None:
        demanded = (
            "<p>No completeness was checked: nobody named a profile of what the evidence of "
            "such violations must have.</p>\n"
        )
    else:
        profiles = "".join(_profile(one) for one in found.chosen.profiles)
        demanded = f"<p>Checked by these profiles, which are in <code>manifest.json</code>:</p>\n<ul>{profiles}</ul>\n"
    if found.complete is None:
        return f"{title}{demanded}"
    if found.complete:
        return f"{title}{demanded}<p>Nothing that they demand is missing.</p>\n"
    rows = "".join(
        f"<tr><td>{escape(violation_id)}</td><td><code>{escape(one.field)}</code></td>"
        f"<td>{escape(one.message)}</td></tr>\n"
        for violation_id, one in found.missing
    )
    head = "<tr><th>Violation</th><th>Item</th><th>What is wrong</th></tr>"
    return (
        f"{title}{demanded}<p><strong>This package is incomplete.</strong> Whoever made it asked for "
        f"it all the same. This is missing:</p>\n<table>{head}\n{rows}</table>\n"
    )


def _profile(profile: CompletenessProfile) -> str:
    example = " <strong>An example, agreed with no authority.</strong>" if profile.example else ""
    return (
        f"<li><code>{escape(profile.profile_id)}</code> for {escape(profile.violation_type)} in "
        f"{escape(profile.jurisdiction)}: {escape(profile.legal_source)}.{example}</li>\n"
    )


def _section(violation: StoredViolation, members: Sequence[Member]) -> str:
    record = violation.record
    facts = {
        "Device": record.device_id,
        "Type": record.violation_type,
        "Time": violation.occurred_at.isoformat(),
        "Vehicle": record.vehicle_class,
        "Received": violation.received_at.isoformat(),
    }
    rows = "".join(
        f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in facts.items()
    )
    files = "".join(
        f"<tr><td><code>{escape(one.path)}</code></td><td>{one.size_bytes:,} bytes</td>"
        f'<td class="digest">{one.sha256}</td></tr>\n'
        for one in members
    )
    title = f"<h2>Violation {escape(record.violation_id)}</h2>\n"
    head = "<tr><th>File</th><th>Size</th><th>SHA-256</th></tr>"
    return f"{title}<table>{rows}</table>\n<table>{head}\n{files}</table>\n"
