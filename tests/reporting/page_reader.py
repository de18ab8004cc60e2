"""A page taken apart, for the tests of what stands on it."""

import base64
import hashlib
import re
from html.parser import HTMLParser

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """What a page consists of; a tag that is closed in the wrong order fails at once."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.script = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] == ["script"]:
            self.script += data
        elif self._open[-1:] != ["style"]:
            self.text += " " + re.sub(r"[ \n]+", " ", data).strip(" ")

    def attributes(self, tag, name):
        return [attrs[name] for found, attrs in self.tags if found == tag and name in attrs]

    def may_run_its_script(self) -> bool:
        """Whether the security policy names the digest of the script that stands on the page, and nothing else to run."""
        policy = next(attrs["content"] for tag, attrs in self.tags if attrs.get("http-equiv") == "Content-Security-Policy")
        allowed = re.findall(r"script-src ([^;]*)", policy)
        digest = base64.b64encode(hashlib.sha256(self.script.encode()).digest()).decode()
        return policy.startswith("default-src 'none';") and allowed == [f"'sha256-{digest}'"]
