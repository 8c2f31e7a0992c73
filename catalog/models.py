"""What the shop sells: areas, plans, the pricing policy, and what each catalogue sync saw."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import get_language


class Area(models.Model):
    """Where a plan works: one country, a region of several, or the whole world."""

    class Kind(models.TextChoices):
        COUNTRY = "country"
        REGION = "region"
        GLOBAL = "global"

    code = models.CharField(max_length=16, primary_key=True, help_text="ISO 3166 code, or eSIM Go's code of a region.")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    name_en = models.CharField(max_length=100)
    name_ru = models.CharField(max_length=100)
    countries = ArrayField(
        models.CharField(max_length=8),
        default=list,
        help_text="ISO codes of the countries where plans of the area work.",
    )
    search_words = models.TextField(
        blank=True, help_text="Lower case: names in both languages, other spellings, the code."
    )

    class Meta:
        ordering = ["code"]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """Name in the language of the moment."""
        return self.name_ru if get_language() == "ru" else self.name_en


class Network(models.Model):
    """An operator on whose network plans work in a country, as eSIM Go lists it. Written by the catalogue sync."""

    country = models.CharField(max_length=8, help_text="eSIM Go's code, an ISO 3166 code for a country.")
    name = models.CharField(max_length=100, help_text="As customers know it: the brand.")
    speeds = ArrayField(models.CharField(max_length=16), default=list, blank=True, help_text="For example 4G, 5G.")

    class Meta:
        ordering = ["country", "name"]
        constraints = [models.UniqueConstraint(fields=["country", "name"], name="one_network_per_country_and_name")]

    def __str__(self) -> str:
        return f"{self.name} ({self.country})"


class CurrencyRate(models.Model):
    """About what a US dollar is in another currency: only for the "≈" beside a price in Stars. Edited by staff."""

    code = models.CharField(
        max_length=3,
        primary_key=True,
        validators=[RegexValidator(r"^(?!USD)[A-Z]{3}$", "Three capital letters, and not USD, which is always one.")],
        help_text="ISO 4217, for example EUR.",
    )
    per_usd = models.DecimalField(max_digits=14, decimal_places=6, help_text="How much of it is one US dollar.")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["code"]
        constraints = [models.CheckConstraint(condition=models.Q(per_usd__gt=0), name="currency_rate_above_zero")]

    def __str__(self) -> str:
        return self.code


class PlanQuerySet(models.QuerySet["Plan"]):
    def on_sale(self) -> PlanQuerySet:
        return self.filter(is_on_sale=True)


class Plan(models.Model):
    """A data plan that we sell; a bundle in eSIM Go's words. Rows are never deleted: orders point at them."""

    class FairUse(models.TextChoices):
        """Daily full-speed amount of an unlimited plan, and the speed after it (eSIM Go's groups)."""

        NONE = "", "not unlimited"
        LITE = "lite", "1 GB a day, then 512 kbit/s"
        ESSENTIAL = "essential", "1 GB a day, then 1.25 Mbit/s"
        PLUS = "plus", "2 GB a day, then 2 Mbit/s"
        UNKNOWN = "unknown", "unlimited, rule not known"

    bundle_name = models.CharField(max_length=100, unique=True, help_text="eSIM Go's name; case matters.")
    area = models.ForeignKey(Area, on_delete=models.PROTECT, related_name="plans")
    data_mb = models.PositiveIntegerField(null=True, blank=True, help_text="MB of 1,000,000 bytes; empty: unlimited.")
    validity_days = models.PositiveIntegerField()
    is_unlimited = models.BooleanField(default=False)
    fair_use = models.CharField(max_length=10, choices=FairUse.choices, blank=True, default=FairUse.NONE)
    speeds = ArrayField(models.CharField(max_length=16), default=list, blank=True)
    countries = ArrayField(models.CharField(max_length=8), default=list, help_text="ISO codes where it works.")
    groups = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    profile_name = models.CharField(max_length=50, blank=True, help_text="Operator profile; decides what tops up what.")
    wholesale_usd = models.DecimalField(max_digits=12, decimal_places=4, help_text="What eSIM Go takes, USD.")
    price_stars = models.PositiveIntegerField(help_text="By the policy of today; see catalog.pricing.")
    is_offered = models.BooleanField(default=True, help_text="In the wholesaler's catalogue at the last sync.")
    is_on_sale = models.BooleanField(default=True, help_text="Offered, and its price pays for it and is allowed.")
    first_seen_at = models.DateTimeField(default=timezone.now, editable=False)
    vanished_at = models.DateTimeField(null=True, blank=True)

    objects = PlanQuerySet.as_manager()

    class Meta:
        ordering = ["area_id", "is_unlimited", "price_stars", "bundle_name"]
        constraints = [
            models.CheckConstraint(condition=models.Q(price_stars__gte=1), name="plan_price_at_least_one_star"),
            models.CheckConstraint(condition=models.Q(wholesale_usd__gt=0), name="plan_wholesale_above_zero"),
            models.CheckConstraint(
                condition=models.Q(is_unlimited=True, data_mb=None) | models.Q(is_unlimited=False, data_mb__gt=0),
                name="plan_data_or_unlimited",
            ),
        ]
        indexes = [
            models.Index(
                fields=["area", "is_unlimited", "price_stars", "bundle_name"],
                condition=models.Q(is_on_sale=True),
                name="plan_on_sale",
            ),
            GinIndex(fields=["countries"], name="plan_countries"),
        ]

    def __str__(self) -> str:
        return self.bundle_name


class PlanChange(models.Model):
    """What a sync or a new policy changed on a plan; the memory of prices."""

    class Kind(models.TextChoices):
        NEW = "new"
        CHANGED = "changed"
        PRICE = "price"
        VANISHED = "vanished"
        RETURNED = "returned"

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="changes")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.plan}: {self.kind}"


class CatalogueVersion(models.Model):
    """Another UUID after every write to plans, areas, networks or rates, set by a trigger of the database: one row.

    What was made from the catalogue (answers of the API) is good as long as it stays the same.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    version = models.UUIDField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_catalogue_version")]

    def __str__(self) -> str:
        return str(self.version)


class CatalogSync(models.Model):
    """One run of `sync_catalog`: when, what it counted, or why it left the catalogue as it was."""

    started_at = models.DateTimeField(default=timezone.now, db_index=True)
    finished_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    plans_total = models.PositiveIntegerField(default=0)
    plans_new = models.PositiveIntegerField(default=0)
    plans_changed = models.PositiveIntegerField(default=0)
    plans_vanished = models.PositiveIntegerField(default=0)
    prices_changed = models.PositiveIntegerField(default=0)
    networks_total = models.PositiveIntegerField(default=0)
    skipped = models.JSONField(default=list, help_text="Bundles and networks that made no sense, and why.")

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M} {self.error or 'done'}"


class WholesalerAccount(models.Model):
    """What eSIM Go last said of our account: one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    currency = models.CharField(max_length=3, default="USD")
    balance_usd = models.DecimalField(max_digits=14, decimal_places=4, null=True)
    read_at = models.DateTimeField(null=True)
    wait_until = models.DateTimeField(
        null=True, help_text="eSIM Go asked for a pause (429, Retry-After): nothing is bought before."
    )

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_wholesaler_account")]

    def __str__(self) -> str:
        return f"{self.balance_usd} {self.currency}"


class SalesPause(models.Model):
    """The sales brake: set and taken off by itself, beside the switch of the pricing policy. Open while `ended_at` is
    empty; several causes may be open at once."""

    class Cause(models.TextChoices):
        BALANCE = "balance", "the wholesaler's balance is low"
        ACCOUNT = "account", "the wholesaler refuses our account"
        ERRORS = "errors", "too many calls to the wholesaler fail"
        QUEUE = "queue", "paid orders wait too long"
        PURCHASE_LIMIT = "purchase_limit", "more purchases an hour than the policy allows"
        STAFF = "staff", "paused by a member of staff, who ends it"

    cause = models.CharField(max_length=16, choices=Cause.choices)
    min_cost_usd = models.DecimalField(
        max_digits=12, decimal_places=4, null=True, blank=True,
        help_text="Only plans that cost us at least so much, USD, are paused; empty: all.",
    )  # fmt: skip
    reason = models.TextField(help_text="In words for the operators.")
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["cause"], condition=models.Q(ended_at=None), name="one_open_sales_pause_per_cause"
            ),
        ]
        permissions = [("pause_sales", "Can pause and resume sales")]

    def __str__(self) -> str:
        return self.get_cause_display()


class Rehearsal(models.Model):
    """What eSIM Go last answered when a plan's purchase was rehearsed (`type: validate`); good for a short while."""

    plan = models.OneToOneField(Plan, on_delete=models.CASCADE, related_name="rehearsal")
    is_accepted = models.BooleanField()
    total_usd = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True)
    message = models.TextField(blank=True, help_text="Their words where they refuse it.")
    rehearsed_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.plan}: {'accepted' if self.is_accepted else self.message}"


class PolicyRow(models.Model):
    """A row of a policy with history: the newest row is in force, older rows stay."""

    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.PROTECT, related_name="+"
    )
    reason = models.CharField(max_length=200, blank=True, help_text="Why it was changed.")

    class Meta:
        abstract = True
        ordering = ["-id"]
        get_latest_by = "id"

    @classmethod
    def in_force(cls) -> Any:
        """The newest row, or an unsaved one with the defaults where nobody has set any."""
        # Raw, since every payment asks: the ORM compiles longer than PostgreSQL looks.
        newest = cls._default_manager.raw(f'SELECT * FROM "{cls._meta.db_table}" ORDER BY id DESC LIMIT 1')  # noqa: S608
        return next(iter(newest), None) or cls()


class PricingPolicy(PolicyRow):
    """How a wholesale price becomes a price in Stars, and whether we sell at all. See `catalog.pricing`."""

    stars_per_usd = models.DecimalField(max_digits=10, decimal_places=4, default=Decimal(100))
    markup = models.DecimalField(max_digits=6, decimal_places=4, default=Decimal(0), help_text="0.20 adds 20 %.")
    commission = models.DecimalField(
        max_digits=5,
        decimal_places=4,
        default=Decimal(0),
        help_text="Share of the price that others keep, 0 to below 1.",
    )
    step_stars = models.PositiveIntegerField(default=1, help_text="Prices are multiples of it, rounded up.")
    min_stars = models.PositiveIntegerField(default=1)
    max_stars = models.PositiveIntegerField(default=100_000, help_text="Dearer plans are not on sale.")
    payout_usd_per_star = models.DecimalField(
        max_digits=8, decimal_places=6, default=Decimal("0.013"), help_text="What Telegram pays out, USD a Star."
    )
    is_selling = models.BooleanField(
        "sales on", default=True, help_text="Off: no invoice is made, no payment approved."
    )

    class Meta(PolicyRow.Meta):
        verbose_name_plural = "pricing policies"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(stars_per_usd__gt=0, markup__gte=0, commission__gte=0, commission__lt=1),
                name="pricing_policy_makes_sense",
            ),
            models.CheckConstraint(
                condition=models.Q(step_stars__gte=1, min_stars__gte=1, max_stars__gte=models.F("min_stars")),
                name="pricing_policy_bounds",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.stars_per_usd.normalize():f} Stars per USD since {self.created_at:%Y-%m-%d %H:%M}"
