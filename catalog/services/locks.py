"""Who may write the catalogue."""

from django.db import connection

_CATALOGUE = 0x63617461  # "cata"; any number that nothing else of this database uses


def lock_catalogue() -> None:
    """Wait until no other transaction writes plans or prices; held until this transaction ends.

    A sync that computed its prices by one policy while another came into force would leave prices of the old one.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CATALOGUE])
