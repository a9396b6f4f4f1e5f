"""Secrets out of outside text, before anything is stored, shown or sent.

Own patterns for what logs and configuration files hold, then the pattern detectors of `detect-secrets`. No entropy detectors: hashes,
fingerprints and ids stay readable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_CHUNK = 4096
"""Longest piece of a line that detectors see at once."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]{0,1024}(?:\x07|\x1b\\)?|[@-Z\\-_])|\x9b[0-?]*[ -/]*[@-~]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:.{0,16384}?-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|[A-Za-z0-9+/=\s,:.-]*)",
    re.DOTALL,
)

_NAME = (
    r"(?:pass(?:word|wd|phrase)|(?<![a-z])pwd|(?<=[_-])pass|secret|token|credentials?|requirepass|masterauth|"
    r"(?:api|auth|access|account|private|client|service|signing|encryption|secret|storage|shared)[_-]?key)"
)
_HARMLESS = (
    r"(?![_-]?(?:file|path|dir|ttl|count|len|length|expir|type|name|policy|age|required|enabled|url|uri|timeout|limit|size|"
    r"attempt|authentication|set\b|id\b|version|max|min|valid|update|change))"
)
_KEY = rf"{_NAME}s?{_HARMLESS}(?:[_-]\w{{0,20}}|\d{{1,3}})?"
_VALUE = r"""(?:\\+(?P<e>["']).*?\\+(?P=e)|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|["'][^"']*|[^\s,;&"'}\]\\]+)"""
_PAIR = re.compile(
    rf"""(?P<key>{_KEY})(?P<sep>\\*["']?\]?\s{{0,8}}(?:=>|:=|==|=|:)\s{{0,8}})(?P<value>{_VALUE})""",
    re.IGNORECASE,
)
_WHOLE_LINE = re.compile(
    r"^(?P<key>\s{0,64}(?:-\s)?[\w.-]{0,64}?(?:password|passphrase|passwd|secret))(?P<sep>\s{0,8}(?:=>|:=|:(?!=)|=(?!>))\s{0,8})(?P<value>[^\s\"'{\[][^\"']*)$",
    re.IGNORECASE,
)
_DIRECTIVE = re.compile(
    r"""(?P<key>(?:^|\s)--?(?:password|passwd|passphrase|token|secret|api-?key|auth-?token)|\brequirepass|\bmasterauth|"""
    r"""\bidentified\s+by|\bpassword(?=\s+['"]))(?P<sep>\s+)(?P<value>"[^"]*"|'[^']*'|[^\s"'-][^\s"']*)""",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"""(?P<key>authorization)(?P<sep>\\*["']?\s{0,8}[:=]\s{0,8}\\*["']?(?:(?:basic|bearer|token|digest|negotiate|apikey|splunk|aws4-hmac-sha256)\s+)?)"""
    r"""(?P<value>[^"'\\\r\n]+)""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?P<key>\bbearer)(?P<sep>\s+)(?P<value>(?=[A-Za-z._~+/=-]{0,200}[\d._~+/=-])[A-Za-z0-9._~+/=-]{8,})", re.IGNORECASE)
_COOKIE = re.compile(r"(?P<key>\b(?:set-)?cookie)(?P<sep>\"?\s{0,8}:\s{0,8}\"?)(?P<value>[^\"\r\n]+)", re.IGNORECASE)
_URL = re.compile(r"(?P<key>\b[a-z][a-z0-9+.-]{1,20}://[^\s/@:\"'<>]{0,128})(?P<sep>:)(?P<value>[^\s/\"'<>]{1,256}(?=@))", re.IGNORECASE)
_CURL = re.compile(r"(?P<key>(?:^|\s)(?:-u|--user)\s+[^\s:]{1,128})(?P<sep>:)(?P<value>[^\s\"']+)")
_BARE = (
    ("aws key", re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b")),
    ("github token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255})\b")),
    ("slack token", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{8,255}")),
    ("slack webhook", re.compile(r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/_-]{8,255}")),
    (
        "token",
        re.compile(r"\b(?:ro_[A-Za-z0-9_-]{20,255}|hvs\.[A-Za-z0-9_-]{20,255}|glpat-[A-Za-z0-9_-]{16,255}|sk-[A-Za-z0-9_-]{20,255})"),
    ),
    ("google key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}")),
    ("jwt", re.compile(r"\beyJ[A-Za-z0-9_=-]{8,4096}\.[A-Za-z0-9_=-]{4,8192}(?:\.[A-Za-z0-9_.+/=-]{0,4096})?")),
    ("password hash", re.compile(r"\$(?:1|2[abxy]|5|6|y|7|argon2\w{1,2})\$[A-Za-z0-9./$,=+-]{16,255}")),
)
_HINT = re.compile(
    r"pass|pwd|secret|token|credential|key|auth|bearer|cookie|://|-u |--user|identified|akia|asia|abia|acca|gh[pousr]_|github_pat|xox|hooks\.|"
    r"ro_|hvs\.|glpat|sk[-_]|aiza|eyj|\$[1-7y2a]|sg\.|npm_|pypi-|sq0|-us\d|[a-z0-9]{32}|softlayer|cloudant|ibm|iam|\d{8}:[\w-]{35}|[mno][\w-]{23}",
    re.IGNORECASE,
)
_SECRET_KEY = re.compile(rf".*(?:{_KEY}|authorization|cookie)", re.IGNORECASE | re.DOTALL)
_HARMLESS_VALUES = frozenset(
    {"true", "false", "yes", "no", "none", "null", "on", "off", "", "nil", "undefined", "[]", "{}", "***", "********"}
)

_DETECTORS = (
    "artifactory.ArtifactoryDetector",
    "aws.AWSKeyDetector",
    "azure_storage_key.AzureStorageKeyDetector",
    "cloudant.CloudantDetector",
    "discord.DiscordBotTokenDetector",
    "github_token.GitHubTokenDetector",
    "gitlab_token.GitLabTokenDetector",
    "ibm_cloud_iam.IbmCloudIamDetector",
    "ibm_cos_hmac.IbmCosHmacDetector",
    "mailchimp.MailchimpDetector",
    "npm.NpmDetector",
    "openai.OpenAIDetector",
    "pypi_token.PypiTokenDetector",
    "sendgrid.SendGridDetector",
    "slack.SlackDetector",
    "softlayer.SoftlayerDetector",
    "square_oauth.SquareOAuthDetector",
    "stripe.StripeDetector",
    "telegram_token.TelegramBotTokenDetector",
    "twilio.TwilioKeyDetector",
)


def plain(text: str) -> str:
    """Return `text` without terminal sequences, control and direction characters; line feeds and tabs stay."""
    return _CONTROL.sub("", _ANSI.sub("", text.replace("\r\n", "\n")))


class Redactor:
    """Replaces secrets by `[redacted:kind]`; the same text always gives the same answer, and a second pass changes nothing.

    Args:
        known: secrets that are known literally, such as tokens of the settings; shorter than 6 characters are ignored.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = tuple(sorted({secret for secret in known if len(secret) >= 6}, key=lambda secret: (-len(secret), secret)))  # noqa: PLR2004
        self._detectors: tuple[tuple[str, Callable[[str], Iterable[str]]], ...] | None = None

    def __call__(self, text: str) -> str:
        """Return plain `text` without its secrets."""
        text = plain(text)
        for secret in self._known:
            text = text.replace(secret, "[redacted:known]")
        if "PRIVATE KEY" in text:
            text = _PRIVATE_KEY.sub("[redacted:private key]", text)
        return "\n".join(self._line(line) if _HINT.search(line) else line for line in text.split("\n"))

    def mapping(self, value: Any) -> Any:
        """Return a JSON value without secrets: in its texts, and under keys that name a secret."""
        match value:
            case str():
                return self(value)
            case dict() | Mapping():
                return {self(str(key)): self._under(str(key), part) for key, part in value.items()}
            case list() | tuple():
                return [self.mapping(part) for part in value]
            case _:
                return value

    def _under(self, key: str, value: Any) -> Any:
        if isinstance(value, str | int | float) and not isinstance(value, bool) and _SECRET_KEY.fullmatch(key) and str(value):
            done = isinstance(value, str) and (value.startswith("[redacted:") or value.lower() in _HARMLESS_VALUES)
            return value if done else f"[redacted:{_kind(key)}]"
        return self.mapping(value)

    def _line(self, line: str) -> str:
        for name, pattern in _BARE:
            line = pattern.sub(f"[redacted:{name}]", line)
        for pattern in (_AUTHORIZATION, _COOKIE, _BEARER, _URL, _CURL, _WHOLE_LINE, _DIRECTIVE, _PAIR):
            line = pattern.sub(_replace, line)
        if len(line) <= _CHUNK:
            return self._detect(line)
        return "".join(self._detect(line[start : start + _CHUNK]) for start in range(0, len(line), _CHUNK))

    def _detect(self, line: str) -> str:
        if self._detectors is None:
            self._detectors = _load()
        for name, analyze in self._detectors:
            for secret in sorted(set(analyze(line)), key=lambda found: (-len(found), found)):
                if len(secret) >= 4 and "[redacted:" not in secret:  # noqa: PLR2004 - shorter ones would mangle ordinary words
                    line = line.replace(secret, f"[redacted:{name}]")
        return line


def _load() -> tuple[tuple[str, Callable[[str], Iterable[str]]], ...]:
    """Return the detectors' names and functions; imported late, because the library is heavy."""
    from importlib import import_module

    found = []
    for path in _DETECTORS:
        module, name = path.split(".")
        detector = getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
        found.append((module.replace("_", " "), detector.analyze_string))
    return tuple(found)


def _replace(match: re.Match[str]) -> str:
    key, separator, value = match["key"], match["sep"], match["value"]
    inner = value.strip("\"'\\")
    if value.startswith("[redacted:") or inner.startswith("[redacted:") or inner.lower() in _HARMLESS_VALUES:
        return match.group()
    if ":" in separator and key.lower() == "token" and inner.isalpha() and inner == value and len(inner) <= 12:  # noqa: PLR2004
        return match.group()  # a parser's "unexpected token: word"
    quote = re.match(r"\\*[\"']", value)
    mark = f"[redacted:{_kind(key)}]"
    closed = quote is not None and len(value) > len(quote.group()) and value.endswith(quote.group())
    return f"{key}{separator}{quote.group() if quote else ''}{mark}{quote.group() if quote and closed else ''}"


def _kind(key: str) -> str:
    """Return which kind of secret a name speaks of."""
    lowered = key.lower()
    if "://" in lowered or "-u" in lowered:
        return "password"
    for word in ("authorization", "bearer", "cookie", "token", "secret", "credential", "key"):
        if word in lowered:
            return "token" if word == "bearer" else word
    return "password"
