"""A customer in the chat with the bot, by the sandbox's calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.outside import wait_until

if TYPE_CHECKING:
    from tests.outside import SandboxControl

PATIENCE_SECONDS = 30


class Chat:
    def __init__(self, sandbox: SandboxControl, user_id: int) -> None:
        self._sandbox = sandbox
        self.user_id = user_id

    def write(self, text: str) -> None:
        self._sandbox.post(f"/sandbox/users/{self.user_id}/messages", {"text": text})

    def press(self, words: str) -> None:
        """Press the newest button with these words, once it is there."""
        wait_until(lambda: self._find(words) is not None, seconds=PATIENCE_SECONDS)
        found = self._find(words)
        assert found is not None
        message_id, data = found
        self._sandbox.post(f"/sandbox/users/{self.user_id}/press", {"message_id": message_id, "callback_data": data})

    def wait_for(self, words: str) -> str:
        """The newest text of the bot with these words, once it is there."""
        wait_until(lambda: bool(self.said(words)), seconds=PATIENCE_SECONDS)
        return self.said(words)[-1]

    def said(self, words: str) -> list[str]:
        """What the bot wrote that has these words, oldest first."""
        return [str(each["text"]) for each in self._messages() if words in str(each["text"])]

    def ask_for(self, *choices: str) -> None:
        """`/paysupport`, and a button after the other."""
        self.write("/paysupport")
        for choice in choices:
            self.press(choice)

    def _messages(self) -> list[dict[str, Any]]:
        return self._sandbox.chat(self.user_id)

    def _find(self, words: str) -> tuple[int, str] | None:
        for message in reversed(self._messages()):
            for row in message.get("buttons") or []:
                for button in row:
                    if words in button["text"] and "callback_data" in button:
                        return int(message["message_id"]), str(button["callback_data"])
        return None
