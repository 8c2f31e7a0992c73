"""Paying with Stars: what Telegram's client and servers do between the Pay button and the bot's updates."""

from __future__ import annotations

import secrets
import time

from esimshop.sandbox.exchange import Json
from esimshop.sandbox.faults import Faults
from esimshop.sandbox.state import State
from esimshop.sandbox.updates import Updates
from esimshop.sandbox.users import as_chat, as_user


class Checkout:
    def __init__(self, state: State, updates: Updates, faults: Faults) -> None:
        self._state = state
        self._updates = updates
        self._faults = faults

    def pay(self, *, user_id: int, slug: str, amount: int | None = None, currency: str | None = None) -> Json:
        """Pay an invoice link: pre-checkout, charge, and the message to the bot.

        amount, currency: what the bot is asked and told instead of the invoice's own, as a broken or
            hostile client might try; the buyer is charged that amount.
        Returns: {"status": "paid" or "failed", "shown": what the Mini App is told, None for nothing,
            "error"?, "charge_id"?}.
        Raises: KeyError for an unknown user or slug.
        """
        result = self._pay(user_id, slug, amount, currency)
        fault = self._faults.take("client.invoice_closed")
        result["shown"] = result["status"]
        if fault is not None:
            result["shown"] = None if fault.kind == "lose" else fault.claim
        return result

    def _pay(self, user_id: int, slug: str, amount: int | None, currency: str | None) -> Json:
        state = self._state
        with state.lock:
            user = state.users[user_id]
            invoice = state.invoices[slug]
            stars = invoice["amount"] if amount is None else amount
            if user["stars"] < stars:
                return {"status": "failed", "error": "BALANCE_TOO_LOW"}
            query_id = str(secrets.randbelow(9 * 10**18) + 10**18)
            asked = {
                "currency": currency or invoice["currency"],
                "total_amount": stars,
                "invoice_payload": invoice["payload"],
            }
            deadline = state.settings["pre_checkout_seconds"]
            state.queries[query_id] = {
                "user_id": user_id,
                "slug": slug,
                "asked_at": time.time(),
                "answer": None,
                "closed": False,
            }
            query = {"id": query_id, "from": as_user(user), **asked}
            self._updates.add({"pre_checkout_query": query}, chat_id=user_id)
            record = state.queries[query_id]
            state.changed.wait_for(lambda: record["answer"] is not None, timeout=deadline)
            record["closed"] = True
            answer = record["answer"]
            if answer is None:
                return {"status": "failed", "error": "BOT_PRECHECKOUT_TIMEOUT"}
            if not answer["ok"]:
                return {"status": "failed", "error": answer["error_message"]}
            if user["stars"] < stars:
                return {"status": "failed", "error": "BALANCE_TOO_LOW"}
            return {"status": "paid", "charge_id": self._charge(user, invoice, asked)}

    def _charge(self, user: Json, invoice: Json, asked: Json) -> str:
        state = self._state
        charge_id = f"stx{secrets.token_urlsafe(45)}"
        now = int(time.time())
        stars = asked["total_amount"]
        user["stars"] -= stars
        invoice["paid"] += 1
        partner = {
            "type": "user",
            "transaction_type": "invoice_payment",
            "user": as_user(user),
            "invoice_payload": asked["invoice_payload"],
        }
        state.transactions.append({"id": charge_id, "amount": stars, "date": now, "source": partner})
        payment = {**asked, "telegram_payment_charge_id": charge_id, "provider_payment_charge_id": ""}
        message_id = state.new_message_id()
        state.chats[user["id"]].append(
            {
                "message_id": message_id,
                "from": "service",
                "date": now,
                "service": {
                    "kind": "paid",
                    "stars": stars,
                    "title": invoice["title"],
                    "charge_id": charge_id,
                },
            }
        )
        message = {
            "message_id": message_id,
            "from": as_user(user),
            "chat": as_chat(user),
            "date": now,
            "successful_payment": payment,
        }
        self._updates.add({"message": message}, chat_id=user["id"])
        state.touch()
        return charge_id
