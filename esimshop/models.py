"""What every app shares: alerts to operators, counters of rate limits, the bot's name."""

from django.db import models
from django.utils import timezone


class Alert(models.Model):
    """Something a person must know. One open row per cause, so that a cause is told once and not once per retry."""

    cause = models.CharField(max_length=100, help_text="What it is about, e.g. esimgo_account or order:<id>.")
    text = models.TextField(help_text="What happened and what to do.")
    path = models.CharField(max_length=200, blank=True, help_text="Page of the admin to open, from PUBLIC_URL on.")
    raised_at = models.DateTimeField(default=timezone.now)
    cleared_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["cause"], condition=models.Q(cleared_at=None), name="one_open_alert_per_cause"
            )
        ]

    def __str__(self) -> str:
        return f"{self.cause}: {self.text}"


class RateCount(models.Model):
    """How often a key was used in a window of time. Counted in PostgreSQL, so it holds over all processes."""

    key = models.CharField(max_length=100)
    window = models.DateTimeField()
    count = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "window"], name="one_count_per_key_and_window")]

    def __str__(self) -> str:
        return f"{self.key} {self.window:%H:%M:%S}: {self.count}"


class Bot(models.Model):
    """The bot as Telegram named it when it was set up: one row. Pages link to its chat without asking Telegram."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    username = models.CharField(max_length=64)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_bot")]

    def __str__(self) -> str:
        return f"@{self.username}"
